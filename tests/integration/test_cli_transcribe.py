"""``mlx-local transcribe`` against the real API, with a worker that hears what the test says."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pysubs2
import pytest
import webvtt
from pydantic_core import to_json

from app.jobs.claims import Claimed
from app.jobs.record import JobState, Progress
from app.settings import Settings
from tests.integration.command import COMMAND, environment, mlx_local
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker
from tests.integration.terminal import on_terminal
from tests.recordings import silence

Run = Callable[..., subprocess.CompletedProcess[str]]
_TEXT = "Grüße aus Paris. Bis bald."
_SEGMENTS = [{"id": 0, "start": 0.5, "end": 2.0, "text": " Grüße aus Paris."}, {"id": 1, "start": 2.5, "end": 3.0, "text": " Bis bald."}]


@pytest.fixture
def client_settings(hearing_settings: Settings, start_api: Callable[..., Api]) -> Settings:
    """Settings that lead the command to a running API with a model that hears."""
    return hearing_settings.model_copy(update={"port": start_api(hearing_settings).port})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A recording; what is heard in it is the worker's affair."""
    path = tmp_path / "a [1] talk.m4a"
    path.write_bytes(silence(1.0))
    return path


def hear(worker: FakeWorker, *, warnings: Sequence[str] = ()) -> Claimed:
    """Take the next job and commit the transcript."""
    job = worker.claim()
    body = {"text": _TEXT, "language": "german", "duration": 3.2, "segments": _SEGMENTS, "warnings": list(warnings)}
    worker.store.commit(job.id, job.token, JobState.SUCCEEDED, output=to_json(body))
    return job


def test_a_transcript_is_written_beside_its_recording_in_each_format_asked_for(
    client_settings: Settings, worker: FakeWorker, background: ThreadPoolExecutor, file: Path
) -> None:
    wanted = ["-f", "txt", "-f", "srt", "-f", "vtt", "-f", "json"]
    call = background.submit(
        mlx_local, client_settings, "transcribe", str(file), *wanted, "--words", "-l", "de", "--hotword", "Paris", "--hotword", "Bonn"
    )
    job = hear(worker, warnings=["From 0:01 on it may be incomplete."])
    done = call.result()

    assert done.returncode == 0
    assert "0:01" in done.stderr
    written = [file.with_name(f"a [1] talk.{suffix}") for suffix in ("txt", "srt", "vtt", "json")]
    assert done.stdout.splitlines() == [str(path) for path in written]
    assert written[0].read_text(encoding="utf-8") == _TEXT + "\n"
    assert [(cue.start, cue.end, cue.text) for cue in pysubs2.load(str(written[1]))] == [
        (500, 2000, "Grüße aus Paris."),
        (2500, 3000, "Bis bald."),
    ]
    assert [caption.text for caption in webvtt.read(str(written[2])).captions] == ["Grüße aus Paris.", "Bis bald."]
    assert json.loads(written[3].read_text(encoding="utf-8"))["segments"] == _SEGMENTS
    assert sorted(file.parent.iterdir()) == sorted([file, *written])
    assert (job.kind, job.model) == ("transcription", "tiny-ears")
    assert [worker.store.spool.get(blob) for blob in job.blobs] == [file.read_bytes()]
    asked = {name: job.request.get(name) for name in ("response_format", "language", "hotwords", "timestamp_granularities")}
    assert asked == {
        "response_format": "verbose_json",
        "language": "de",
        "hotwords": ["Paris", "Bonn"],
        "timestamp_granularities": ["segment", "word"],
    }


def test_a_transcript_is_printed_alone(client_settings: Settings, worker: FakeWorker, background: ThreadPoolExecutor, file: Path) -> None:
    call = background.submit(mlx_local, client_settings, "transcribe", "--stdout", "--translate", str(file))
    assert hear(worker).kind == "translation"
    assert (call.result().stdout, call.result().stderr) == (_TEXT + "\n", "")
    assert list(file.parent.iterdir()) == [file]

    call = background.submit(mlx_local, client_settings, "transcribe", "-", "-f", "srt", stdin=silence(0.5).decode("latin-1"))
    assert [worker.store.spool.get(blob) for blob in hear(worker).blobs] == [silence(0.5)]
    assert pysubs2.SSAFile.from_string(call.result().stdout, format_="srt")[0].text == "Grüße aus Paris."


def test_several_are_printed_under_their_names(
    client_settings: Settings, worker: FakeWorker, background: ThreadPoolExecutor, file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "b.wav"
    other.write_bytes(silence(0.5))
    call = background.submit(mlx_local, client_settings, "transcribe", "--stdout", str(file), str(other))
    hear(worker)
    hear(worker)
    assert call.result().stdout == f"==> {file} <==\n{_TEXT}\n\n==> {other} <==\n{_TEXT}\n"


def test_one_recording_that_cannot_be_heard_keeps_none_from_being_heard(
    client_settings: Settings, worker: FakeWorker, background: ThreadPoolExecutor, tmp_path: Path
) -> None:
    files = [tmp_path / f"{name}.wav" for name in ("a", "b", "c")]
    for path in files:
        path.write_bytes(silence(0.5))
    (out := tmp_path / "out").mkdir()
    call = background.submit(mlx_local, client_settings, "transcribe", *map(str, files), "-o", str(out))
    hear(worker)
    worker.fail(worker.claim(), "unreadable_audio", "No sound can be read.")
    hear(worker)
    done = call.result()

    assert done.returncode == 1
    assert f"{files[1]}: No sound can be read." in done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["a.txt", "c.txt"]


def test_a_file_that_is_there_is_replaced_only_when_that_is_said(
    client_settings: Settings, worker: FakeWorker, background: ThreadPoolExecutor, file: Path
) -> None:
    notes = file.with_suffix(".txt")
    notes.write_text("My own notes.")
    done = mlx_local(client_settings, "transcribe", str(file))
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert worker.store.list_jobs(limit=1) == []

    call = background.submit(mlx_local, client_settings, "transcribe", str(file), "--force")
    hear(worker)
    assert call.result().returncode == 0
    assert notes.read_text(encoding="utf-8") == _TEXT + "\n"


@pytest.mark.parametrize(
    "words",
    [
        ("nowhere.wav",),
        ("a.wav", "a.mp3"),
        ("a.txt",),
        ("a.wav", "--words"),
        ("a.wav", "--stdout", "-f", "txt", "-f", "srt"),
        ("a.wav", "--translate", "--language", "de"),
        ("a.wav", "-o", "nowhere"),
    ],
)
def test_wrong_usage_is_code_2_and_nothing_is_heard(settings: Settings, tmp_path: Path, words: tuple[str, ...]) -> None:
    for name in ("a.wav", "a.mp3", "a.txt"):
        (tmp_path / name).write_bytes(b"sound")
    done = mlx_local(settings, "transcribe", *(str(tmp_path / word) if word[0] in "an" else word for word in words))

    assert done.returncode == 2
    assert done.stderr
    assert (tmp_path / "a.txt").read_bytes() == b"sound"


def test_ctrl_c_cancels_the_job(client_settings: Settings, worker: FakeWorker, file: Path) -> None:
    command = [*COMMAND, "transcribe", str(file)]
    with subprocess.Popen(command, env=environment(client_settings), stdin=subprocess.DEVNULL) as process:
        job = worker.claim()
        process.send_signal(signal.SIGINT)
        worker.wait_for(job.id, JobState.CANCELED)
    assert process.returncode == 130
    assert list(file.parent.iterdir()) == [file]


def test_a_terminal_shows_why_it_waits_and_how_far_it_is(client_settings: Settings, worker: FakeWorker, file: Path) -> None:
    with on_terminal(client_settings, "transcribe", str(file)) as screen:
        screen.read_until(file.name)
        job = worker.claim()
        worker.store.publish_progress([(job.id, job.token, Progress(done=61, total=7200, unit="seconds"))])
        screen.read_until("1:01 of 2:00:00")
        worker.fail(job, "unreadable_audio", "No sound can be read.")
        screen.read_until("No sound can be read.")
        assert screen.end() == 1
