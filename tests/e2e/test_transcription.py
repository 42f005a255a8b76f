"""Recordings through the whole stack, by OpenAI's client: what is said is written down, whatever file it comes in."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jiwer
import numpy as np
import openai
import pysubs2
import pytest
import webvtt
from openai.types.audio import TranscriptionVerbose

from app.audio.pcm import RATE_HZ
from tests.e2e.conftest import Stack
from tests.recordings import record
from tests.spoken import SENTENCES, heard_in_order, music, noise, silence, spoken

_LINE = SENTENCES[:4]
_CONTAINERS = ["wav", "mp3", "m4a", "flac", "ogg", "opus", "webm"]
_TRIED_HERE = {"m4a"}  # the others in the test of the folder, and here by the slow ones
_LOSSLESS = {"wav", "flac"}
_PATIENCE_S = 120.0
_PLAIN = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces(), jiwer.Strip()])


def error_rate(said: str, heard: str) -> float:
    return float(jiwer.wer(_PLAIN(said), _PLAIN(heard)))


def floats(pcm: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return pcm.astype(np.float32) / 32768


def until(look: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever is looked for
    give_up = time.monotonic() + _PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < give_up, "it did not come"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture(scope="module")
def clip(folder: Path) -> Callable[[str], Path]:
    """The same sentences in a container of choice."""
    sound = floats(spoken(_LINE, 0.6))

    def made(kind: str) -> Path:
        if kind in {"opus", "webm"}:  # opus knows no other rate
            return record(folder / f"clip.{kind}", np.repeat(sound, 3), rate_hz=48_000)
        return record(folder / f"clip.{kind}", sound, rate_hz=RATE_HZ)

    return made


@pytest.fixture(scope="module")
def long(folder: Path) -> Path:
    """A minute: sentences, pauses, noise and a stretch in which nobody speaks."""
    return record(folder / "long.flac", floats(talk(1)), rate_hz=RATE_HZ)


def talk(minutes: int) -> np.ndarray[Any, Any]:
    """Return sentences with pauses between, and in each minute a stretch of silence and of music."""
    parts = [spoken(SENTENCES[:8], 1.0), silence(12), music(4.0), spoken(SENTENCES[8:], 1.5)]
    return np.concatenate(parts * minutes)


def ask(client: openai.OpenAI, file: Path, **more: Any) -> Any:  # noqa: ANN401 - one of several answers
    with file.open("rb") as opened:
        return client.audio.transcriptions.create(file=opened, model="asr", **more)


def submitted(stack: Stack, file: Path, **fields: str) -> str:
    answer = httpx.post(
        f"{stack.url}/v1/audio/transcriptions",
        headers={"Prefer": "respond-async"},
        files={"file": (file.name, file.read_bytes())},
        data=fields,
        timeout=60,
    )
    assert answer.status_code == 202
    return str(answer.json()["id"])


def job(stack: Stack, job_id: str) -> dict[str, Any]:
    return dict(httpx.get(f"{stack.url}/v1/jobs/{job_id}", timeout=30).json())


def children(stack: Stack, job_id: str) -> list[dict[str, Any]]:
    return list(httpx.get(f"{stack.url}/v1/jobs", params={"parent": job_id, "limit": 100}, timeout=30).json()["data"])


def ended(stack: Stack, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = until(lambda: (one := job(stack, job_id))["finished_at"] and one)
    return found


@pytest.mark.parametrize("container", [pytest.param(each, marks=[] if each in _TRIED_HERE else [pytest.mark.slow]) for each in _CONTAINERS])
def test_what_is_said_is_heard_in_every_container(client: openai.OpenAI, clip: Callable[[str], Path], container: str) -> None:
    heard = ask(client, clip(container)).text
    assert error_rate(" ".join(_LINE), heard) <= 0.15
    wav = ask(client, clip("wav")).text
    assert error_rate(wav, heard) <= (0 if container in _LOSSLESS else 0.05)


def test_segments_and_words_cover_the_clip_and_go_forward(client: openai.OpenAI, clip: Callable[[str], Path]) -> None:
    file = clip("wav")
    answer = ask(client, file, response_format="verbose_json", timestamp_granularities=["segment", "word"])
    TranscriptionVerbose.model_validate(answer.to_dict())
    length_s = len(spoken(_LINE, 0.6)) / RATE_HZ
    assert answer.language == "english"
    assert answer.duration == pytest.approx(length_s, abs=0.01)
    times = [(word.start, word.end) for word in answer.words]
    assert all(start <= end for start, end in times)
    assert all(one[0] <= other[0] for one, other in itertools.pairwise(times))
    assert times[-1][1] <= length_s + 0.01
    assert _PLAIN(" ".join(word.word for word in answer.words)) == _PLAIN(answer.text)

    srt = pysubs2.SSAFile.from_string(ask(client, file, response_format="srt"), format_="srt")
    vtt = webvtt.from_string(ask(client, file, response_format="vtt")).captions
    for texts, ends in (
        ([cue.text for cue in srt], [cue.end / 1000 for cue in srt]),
        ([c.text for c in vtt], [c.end_in_seconds for c in vtt]),
    ):
        assert error_rate(answer.text, " ".join(texts)) == 0
        assert length_s - 1.5 <= ends[-1] <= length_s + 0.5
    assert ask(client, file, response_format="text").strip() == answer.text


def test_a_stream_tells_the_text_as_it_comes_and_then_all_of_it(client: openai.OpenAI, clip: Callable[[str], Path], long: Path) -> None:
    for file in (clip("mp3"), long):
        events = list(ask(client, file, stream=True))
        assert {event.type for event in events[:-1]} == {"transcript.text.delta"}
        assert events[-1].type == "transcript.text.done"
        assert "".join(event.delta for event in events[:-1]).strip() == events[-1].text
    assert len(events) > 2


def test_silence_is_no_error_and_no_text(client: openai.OpenAI, folder: Path) -> None:
    for name, sound in (("silence", silence(12)), ("noise", noise(12.0)), ("music", music(12.0))):
        assert ask(client, record(folder / f"{name}.wav", floats(sound), rate_hz=RATE_HZ)).text == ""


def test_a_long_recording_is_heard_whole_and_a_short_one_passes_between_its_chunks(
    stack: Stack, client: openai.OpenAI, long: Path, clip: Callable[[str], Path]
) -> None:
    long_id = submitted(stack, long, response_format="verbose_json")
    until(lambda: job(stack, long_id)["child_count"])
    short = ask(client, clip("wav"))
    assert error_rate(" ".join(_LINE), short.text) <= 0.15
    assert job(stack, long_id)["finished_at"] is None
    done = ended(stack, long_id)
    assert done["progress"] == {**done["progress"], "done": done["progress"]["total"], "unit": "seconds"}
    output = httpx.get(f"{stack.url}/v1/jobs/{long_id}/output").json()
    insist_on(output, minutes=1)


@pytest.mark.slow
def test_five_minutes_are_heard_from_the_first_sentence_to_the_last(stack: Stack, folder: Path) -> None:
    job_id = submitted(stack, record(folder / "five.mp3", floats(talk(5)), rate_hz=RATE_HZ), response_format="verbose_json")
    assert ended(stack, job_id)["state"] == "succeeded"
    insist_on(httpx.get(f"{stack.url}/v1/jobs/{job_id}/output").json(), minutes=5)


def insist_on(output: dict[str, Any], *, minutes: int) -> None:
    """Every sentence is there, in order, and nothing else; nothing is said where nobody speaks."""
    said = list(SENTENCES) * minutes
    assert heard_in_order(said, output["text"]) >= 0.97 * len(said)
    assert len(output["text"].split()) <= sum(len(sentence.split()) for sentence in said) + 2
    before_s, whole_s = len(spoken(SENTENCES[:8], 1.0)) / RATE_HZ, len(talk(1)) / RATE_HZ
    for minute in range(minutes):
        begin_s = minute * whole_s + before_s
        assert not [one for one in output["segments"] if begin_s + 1 < one["start"] < begin_s + 14]


@pytest.mark.slow  # tests/integration/test_daemon_chaos.py and test_transcripts.py try it each time
def test_chunks_that_were_heard_are_not_heard_again_after_a_kill(stack: Stack, client: openai.OpenAI, long: Path) -> None:
    undisturbed = ask(client, long).text
    job_id = submitted(stack, long)
    count = until(lambda: job(stack, job_id)["child_count"])
    finished: dict[str, int] = {}

    def heard() -> int:
        return sum(one["state"] == "succeeded" for one in children(stack, job_id))

    for third in (count // 3, 2 * count // 3):
        while heard() < third:
            time.sleep(0.05)
        stack.kill("worker")
        finished |= {one["id"]: one["attempt"] for one in children(stack, job_id) if one["state"] == "succeeded"}
    assert ended(stack, job_id)["state"] == "succeeded"
    attempts = {one["id"]: one["attempt"] for one in children(stack, job_id)}
    assert {name: attempts[name] for name in finished} == finished
    assert json.loads(httpx.get(f"{stack.url}/v1/jobs/{job_id}/output").content)["text"] == undisturbed


def test_who_hangs_up_takes_the_whole_recording_along(stack: Stack, long: Path) -> None:
    def recordings() -> list[dict[str, Any]]:
        return list(httpx.get(f"{stack.url}/v1/jobs", params={"kind": "transcription"}).json()["data"])

    known = {one["id"] for one in recordings()}
    content = long.read_bytes()

    def begun() -> str | None:
        return next((str(one["id"]) for one in recordings() if one["id"] not in known and one["child_count"]), None)

    async def scenario() -> str:
        async with httpx.AsyncClient(timeout=120) as caller:
            waiting = asyncio.create_task(caller.post(f"{stack.url}/v1/audio/transcriptions", files={"file": content}))
            found = str(await asyncio.to_thread(until, begun))
            waiting.cancel()
            return found

    parent = asyncio.run(scenario())
    until(lambda: job(stack, parent)["state"] == "canceled")
    until(lambda: {one["state"] for one in children(stack, parent)} <= {"succeeded", "canceled"})


def corrupt(wav: bytes, mp3: bytes, m4a: bytes) -> Iterator[tuple[str, bytes]]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sound.wav", bytes(50_000_000))
    lying = bytearray(wav[:44]) + wav[44:2000]
    lying[40:44] = b"\xf0\xff\xff\x7f"
    yield "a text", b"This is no recording at all. " * 50
    yield "a page", b"<!DOCTYPE html><html><body>404</body></html>"
    yield "an archive", packed.getvalue()
    yield "a header alone", wav[:44]
    yield "half a header", wav[:20]
    yield "a length that lies", bytes(lying)
    yield "an m4a without its end", m4a[: len(m4a) // 2]
    yield "an m4a without its beginning", m4a[len(m4a) // 2 :]
    yield "noise", np.random.default_rng(3).bytes(20_000)
    yield "zeros", bytes(20_000)
    yield "a wav of no channels", wav[:22] + b"\x00\x00" + wav[24:4000]
    yield "an mp3 that is mostly zeros", mp3[:200] + bytes(100_000)


def test_a_broken_file_is_refused_and_harms_nobody(stack: Stack, client: openai.OpenAI, clip: Callable[[str], Path]) -> None:
    worker = stack.pid("worker")
    files = [clip(kind).read_bytes() for kind in ("wav", "mp3", "m4a")]
    for what, content in corrupt(*files):
        with pytest.raises(openai.BadRequestError) as refused:
            client.audio.transcriptions.create(file=("x.wav", content), model="asr")
        assert refused.value.code == "unreadable_audio", what
        assert str(stack.home) not in refused.value.message, what
    assert stack.pid("worker") == worker
    assert error_rate(" ".join(_LINE), ask(client, clip("wav")).text) <= 0.15


def test_what_cannot_be_done_is_said(client: openai.OpenAI, clip: Callable[[str], Path]) -> None:
    file = clip("wav")
    for more, param in (
        ({"language": "de"}, "language"),
        ({"response_format": "diarized_json"}, "response_format"),
        ({"response_format": "srt", "stream": True}, "stream"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities"),
        ({"temperature": 7}, "temperature"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            ask(client, file, **more)
        assert refused.value.param == param
    refusal = httpx.post(f"{client.base_url}audio/translations", files={"file": file.read_bytes()}, timeout=60)
    assert refusal.status_code == 400
    assert "cannot translate" in refusal.json()["error"]["message"]


def test_a_transcript_is_written_down_and_corrected_or_says_what_was_not(stack: Stack, clip: Callable[[str], Path]) -> None:
    """The smallest of language models corrects badly: what it spoils must stay as it was heard."""
    file = clip("m4a")
    sent = httpx.post(f"{stack.url}/v1/jobs", data={"kind": "transcript"}, files={"file": (file.name, file.read_bytes())}, timeout=60)
    assert sent.status_code == 202, sent.text
    done = ended(stack, sent.json()["id"])
    assert done["state"] == "succeeded", done["error"]
    made = done["output"]
    assert error_rate(" ".join(_LINE), made["text"]) <= 0.15
    assert error_rate(" ".join(_LINE), made["corrected"]) <= 0.3
    assert (made["total_pieces"], made["language"], made["correction_model"]) == (1, "en", "smollm2-135m-instruct")
    assert [piece["kept_raw"] is None for piece in made["pieces"]] == [made["corrected_pieces"] == 1]
    heard = httpx.get(f"{stack.url}/v1/jobs/{done['id']}.0/output", timeout=30).json()
    assert heard["text"].split() == made["text"].split()
