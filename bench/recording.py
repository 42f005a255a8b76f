"""A long recording through the whole path, and five minutes of it against ``mlx_audio``'s own command on the same files.

Each minute of the clip has twelve known sentences with pauses between, a stretch
in which nobody speaks, and music. The long one is heard a second time while the
worker is killed twice, to see that nothing is heard again.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import psutil

from app.machine import worker_environment
from app.settings import load_settings
from bench.homes import Server, environment, one_home, stack, starter_models
from bench.report import Figure, at_least, at_most
from tests.recordings import record
from tests.spoken import RATE, SENTENCES, heard_in_order, music, silence, spoken

if TYPE_CHECKING:
    from bench.__main__ import Bench

__all__ = ["NOTE", "run"]

_NAME = "recording"
NOTE = (
    "Whisper tiny.en, synthetic speech, FLAC. Real-time factor: seconds of work for a second of sound, from submission to the end with "
    "the model loaded; of the command, less what it takes for two seconds. The command hears five minutes: it computes in float16, "
    "which no CPU is quick at. Memory: resident, of the process and its children."
)
_MODEL = "whisper-tiny.en"
_LOOK_S = 0.25
_WARM_S = 600.0  # of the recording: memory is compared from here on
_LONGEST_S = 3600.0
_SHORT_MIN, _LONG_MIN = 5, 60


@dataclass(frozen=True, slots=True)
class _Heard:
    """What one side made of the clip."""

    text: str
    segments: Sequence[dict[str, Any]]
    seconds: float
    peak_bytes: int
    warm_bytes: int  # the most until ten minutes were done, or a third of a shorter clip
    later_bytes: int  # and after that


def run(bench: Bench) -> list[Figure]:
    """Hear five minutes on both sides, and unless it is to be quick sixty on ours."""
    models = starter_models()
    with one_home(models) as home:
        second = record(home / "second.flac", _floats(_talk(1)[0][: 2 * RATE]), rate_hz=RATE)
        short, quiet = _clip(home, _SHORT_MIN)
        long, long_quiet = (short, quiet) if bench.quick else _clip(home, _LONG_MIN)
        minutes = _SHORT_MIN if bench.quick else _LONG_MIN
        with stack(home) as server:
            _follow(server, _submit(server, second), 2)  # loads the model
            bench.say(f"{_SHORT_MIN} minutes")
            ours = _follow(server, _submit(server, short), _SHORT_MIN * 60)
            bench.say(f"{minutes} minutes")
            whole = ours if bench.quick else _follow(server, _submit(server, long), minutes * 60)
            bench.say("again, with two kills")
            again, unkilled = _with_kills(server, long, minutes * 60)
        bench.say(f"mlx_audio.stt.generate, {_SHORT_MIN} minutes")
        theirs = _command(home, models / _MODEL, short, second)
    return [
        Figure(_NAME, "length of the recording", minutes, "min"),
        at_least(_NAME, "sentences found, in order", _found(minutes, whole.text), 0.97, "of all"),
        at_most(_NAME, "segments where nobody speaks", _invented(whole, long_quiet), 0, "segments"),
        Figure(_NAME, "real-time factor", whole.seconds / (minutes * 60), "s per s"),
        Figure(_NAME, "peak memory of the worker", whole.peak_bytes / 1024**2, "MiB"),
        at_most(_NAME, "memory later / in the first ten minutes", whole.later_bytes / whole.warm_bytes, 1.05),
        at_most(_NAME, "chunks heard again after two kills", again, 0, "chunks"),
        at_most(_NAME, "texts changed by two kills", unkilled != whole.text, 0, "texts"),
        *_against(ours, theirs, quiet),
    ]


def _against(ours: _Heard, theirs: _Heard | None, quiet: Sequence[tuple[float, float]]) -> list[Figure]:
    """Compare five minutes."""
    if theirs is None:
        return [Figure(_NAME, "mlx_audio's command: transcripts", 0, "of 1")]
    length_s = _SHORT_MIN * 60
    return [
        Figure(_NAME, "5 min: real-time factor", ours.seconds / length_s, "s per s"),
        Figure(_NAME, "5 min: peak memory of the worker", ours.peak_bytes / 1024**2, "MiB"),
        Figure(_NAME, "5 min, mlx_audio: sentences found, in order", _found(_SHORT_MIN, theirs.text), "of all"),
        Figure(_NAME, "5 min, mlx_audio: segments where nobody speaks", _invented(theirs, quiet), "segments"),
        Figure(_NAME, "5 min, mlx_audio: real-time factor", theirs.seconds / length_s, "s per s"),
        Figure(_NAME, "5 min, mlx_audio: peak memory", theirs.peak_bytes / 1024**2, "MiB"),
        at_most(_NAME, "5 min: time against mlx_audio's command", ours.seconds / theirs.seconds, 1.0),
        at_most(_NAME, "5 min: peak memory against mlx_audio's command", ours.peak_bytes / theirs.peak_bytes, 1.0),
    ]


def _clip(home: Path, minutes: int) -> tuple[Path, list[tuple[float, float]]]:
    sound, quiet = _talk(minutes)
    return record(home / f"{minutes}.flac", _floats(sound), rate_hz=RATE), quiet


def _floats(sound: np.ndarray[Any, np.dtype[np.int16]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return sound.astype(np.float32) / np.float32(32768)


def _talk(minutes: int) -> tuple[np.ndarray[Any, np.dtype[np.int16]], list[tuple[float, float]]]:
    """Return the sound, int16 at 16 kHz, and the spans in seconds in which nobody speaks for long."""
    before, after = spoken(SENTENCES[:8], 1.0), spoken(SENTENCES[8:], 1.5)
    minute = np.concatenate([before, silence(12), music(4), after])
    begins = [(len(minute) * number + len(before)) / RATE for number in range(minutes)]
    return np.tile(minute, minutes), [(begin, begin + 16) for begin in begins]


def _submit(server: Server, clip: Path) -> str:
    fields = {"kind": "transcription", "lane": "interactive", "request": json.dumps({"response_format": "verbose_json"})}
    with clip.open("rb") as content:
        answer = httpx.post(f"{server.url}/v1/jobs", data=fields, files={"file": (clip.name, content)}, timeout=300)
    return str(answer.raise_for_status().json()["id"])


def _job(server: Server, job_id: str) -> dict[str, Any]:
    return dict(httpx.get(f"{server.url}/v1/jobs/{job_id}", timeout=30).raise_for_status().json())


def _follow(server: Server, job_id: str, length_s: float) -> _Heard:
    """Watch a job and its worker's memory to the end."""
    began = time.perf_counter()
    peaks = {True: 0, False: 0}
    warm_s = min(_WARM_S, length_s / 3)
    while True:
        job = _job(server, job_id)
        done_s = (job["progress"] or {}).get("done", 0)
        peaks[done_s < warm_s] = max(peaks[done_s < warm_s], _resident(server.worker))
        if job["finished_at"]:
            break
        time.sleep(_LOOK_S)
    seconds = time.perf_counter() - began
    output = _output(server, job_id)
    return _Heard(output["text"], output["segments"], seconds, max(peaks.values()), peaks[True], peaks[False])


def _output(server: Server, job_id: str) -> dict[str, Any]:
    return dict(httpx.get(f"{server.url}/v1/jobs/{job_id}/output", timeout=30).raise_for_status().json())


def _resident(pid: int) -> int:
    """Return the resident bytes of a process and its children."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss
    return total


def _with_kills(server: Server, clip: Path, length_s: float) -> tuple[int, str]:
    """Hear the clip while the worker is killed at a third and at two thirds; return how many chunks were heard again, and the text."""
    job_id = _submit(server, clip)
    heard: dict[str, int] = {}
    kills = [length_s / 3, length_s * 2 / 3]
    while not (job := _job(server, job_id))["finished_at"]:
        if kills and (job["progress"] or {}).get("done", 0) >= kills[0]:
            kills.pop(0)
            psutil.Process(_worker(server)).kill()
            heard |= {one["id"]: one["attempt"] for one in _children(server, job_id) if one["state"] == "succeeded"}
        time.sleep(_LOOK_S)
    now = {one["id"]: one["attempt"] for one in _children(server, job_id)}
    return sum(now[name] != attempt for name, attempt in heard.items()), str(_output(server, job_id)["text"])


def _worker(server: Server) -> int:
    """Return the process id of the worker, which changes with each kill."""
    while True:
        for process in server.process_tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "app.actors.main" in process.cmdline():
                    return int(process.pid)
        time.sleep(_LOOK_S)


def _children(server: Server, job_id: str) -> Iterator[dict[str, Any]]:
    after: str | None = None
    while True:
        asked: dict[str, str | int] = {"parent": job_id, "limit": 100}
        if after:
            asked["after"] = after
        page = httpx.get(f"{server.url}/v1/jobs", params=asked, timeout=30).raise_for_status().json()
        yield from page["data"]
        if not page["has_more"]:
            return
        after = page["last_id"]


def _command(home: Path, model: Path, clip: Path, second: Path) -> _Heard | None:
    """Run ``python -m mlx_audio.stt.generate``; None where it fails, or takes an hour."""
    begin_s, _, _ = _run_command(home, model, second)
    whole_s, peak_bytes, output = _run_command(home, model, clip)
    if output is None:
        return None
    told = json.loads(output.read_text())
    return _Heard(told["text"], told.get("segments") or [], whole_s - begin_s, peak_bytes, 0, 0)


def _run_command(home: Path, model: Path, clip: Path) -> tuple[float, int, Path | None]:
    """Return seconds, peak resident bytes and what was written."""
    output = home / f"theirs-{clip.stem}"
    env = environment(home, **worker_environment(load_settings(home=home)), HF_HUB_OFFLINE="1")
    command = [sys.executable, "-m", "mlx_audio.stt.generate", "--model", str(model), "--audio", str(clip)]
    began, peak = time.perf_counter(), 0
    with (home / "theirs.out").open("wb") as out:
        process = subprocess.Popen([*command, "--output-path", str(output), "--format", "json"], env=env, stdout=out, stderr=out)
        while process.poll() is None and time.perf_counter() - began < _LONGEST_S:
            peak = max(peak, _resident(process.pid))
            time.sleep(_LOOK_S)
        process.kill()
        process.wait()
    written = output.with_name(output.name + ".json")
    return time.perf_counter() - began, peak, written if written.is_file() else None


def _found(minutes: int, text: str) -> float:
    """Return which part of the sentences is in *text*, in their order."""
    said = list(SENTENCES) * minutes
    return heard_in_order(said, text) / len(said)


def _invented(heard: _Heard, quiet: Sequence[tuple[float, float]]) -> int:
    """Return how many segments begin where nobody speaks, a second away from who does."""
    begins = [float(one["start"]) for one in heard.segments if str(one["text"]).strip()]
    return sum(begin + 1 < at < end - 1 for begin, end in quiet for at in begins)
