"""Recordings through the whole path to a real worker with tiny models of both families that hear. What they say means nothing."""

from __future__ import annotations

import io
import json
import re
import shutil
import tempfile
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pysubs2
import pytest
import webvtt
from hypothesis import HealthCheck, given, settings, strategies
from openai.types.audio import TranscriptionVerbose

from app.settings import load_settings
from tests.conftest import RedisServer
from tests.integration.conftest import Api, running
from tests.integration.worker_process import WorkerProcess
from tests.spoken import RATE, SENTENCES, Pcm, silence, spoken

_FAMILIES = ("qwen3_asr", "whisper")


class Ears:
    """A running API and its worker."""

    def __init__(self, api: Api, worker: WorkerProcess) -> None:
        self.api = api
        self.worker = worker

    def hear(self, sound: bytes, model: str, **more: Any) -> Any:  # noqa: ANN401 - one of several answers
        # What random weights say is drawn anew until it is likely enough: the same each time by the same seed alone.
        more["extra_body"] = {"seed": 5, **more.get("extra_body", {})}
        return self.api.openai.audio.transcriptions.create(file=("a.wav", sound), model=model, **more)


@pytest.fixture(scope="module")
def ears(tiny_model: Callable[[str], Path]) -> Iterator[Ears]:
    home = Path(tempfile.mkdtemp(prefix="mlx-", dir="/tmp"))
    entries = [f'[[model]]\nid = "{name}"\nrepo = "{tiny_model(f"{name}-f32")}"\ntasks = ["asr"]\n' for name in _FAMILIES]
    (home / "catalog.toml").write_text("".join(entries) + '[roles]\nasr = "qwen3_asr"\n')
    (home / "redis").mkdir()
    redis = RedisServer(home / "redis")
    redis.start()
    of_home = load_settings(home=home / "home", redis_url=redis.url, profile="starter", min_free_disk=0, catalog=home / "catalog.toml")
    of_home.home.mkdir()
    worker = WorkerProcess(of_home)
    worker.start()
    with running(of_home) as api:
        yield Ears(api, worker)
    assert worker.stop() == 0
    redis.kill()
    shutil.rmtree(home, ignore_errors=True)


def wav(sound: Pcm) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(sound.astype("<i2").tobytes())
    return out.getvalue()


def letters(text: str) -> str:
    """Return *text* without what readers of subtitles take for the end of a line or a mark."""
    return re.sub(r"[\W_]", "", text.replace(r"\N", ""))


SHORT = spoken(SENTENCES[:1])[: RATE * 2]
LONG = np.concatenate([spoken(SENTENCES[:6], 1.0), silence(5), spoken(SENTENCES[6:], 1.0)])


def test_every_format_says_the_same(ears: Ears) -> None:
    sound, model = wav(SHORT), "qwen3_asr"
    text = ears.hear(sound, model).text
    assert text
    verbose = ears.hear(sound, model, response_format="verbose_json")
    TranscriptionVerbose.model_validate(verbose.to_dict())
    assert verbose.text == text
    assert verbose.duration == pytest.approx(len(SHORT) / RATE, abs=0.01)
    assert all(0 <= one.start <= one.end <= verbose.duration + 0.01 for one in verbose.segments)
    assert ears.hear(sound, model, response_format="text") == text + "\n"
    told = letters("".join(segment.text for segment in verbose.segments))
    assert letters("".join(cue.text for cue in pysubs2.SSAFile.from_string(ears.hear(sound, model, response_format="srt")))) == told
    assert letters("".join(cue.text for cue in webvtt.from_string(ears.hear(sound, model, response_format="vtt")).captions)) == told
    deltas = list(ears.hear(sound, model, stream=True))
    assert "".join(event.delta for event in deltas[:-1]).strip() == deltas[-1].text == text


def test_a_long_recording_is_a_chain_and_streams_as_it_is_heard(ears: Ears) -> None:
    sound, model = wav(LONG), "qwen3_asr"
    whole = ears.hear(sound, model)
    newest = ears.api.http.get("/v1/jobs", params={"limit": 1}).json()["data"][0]
    assert newest["child_count"] > 1
    assert newest["progress"]["done"] == newest["progress"]["total"] == round(len(LONG) / RATE)
    events = list(ears.hear(sound, model, stream=True))
    assert "".join(event.delta for event in events[:-1]).strip() == events[-1].text == whole.text
    assert len(events) > 2


def test_what_a_model_without_sense_says_is_cut_and_warned_of(ears: Ears) -> None:
    """Random weights repeat themselves, or never end: no text may stand without a word about that."""
    answer = ears.hear(wav(LONG), "qwen3_asr", response_format="verbose_json").to_dict()
    assert any("repeated itself" in warning or "may be missing" in warning for warning in answer["warnings"])


def test_language_and_hot_words_change_what_is_heard(ears: Ears) -> None:
    sound = wav(SHORT)
    texts = {
        ears.hear(sound, "qwen3_asr").text,
        ears.hear(sound, "qwen3_asr", language="de").text,
        ears.hear(sound, "qwen3_asr", language="de", prompt="On a walk.").text,
        ears.hear(sound, "qwen3_asr", language="de", extra_body={"hotwords": ["Lisbon"]}).text,
    }
    assert len(texts) > 1
    assert ears.hear(sound, "qwen3_asr", language="German").text == ears.hear(sound, "qwen3_asr", language="de").text
    with pytest.raises(openai.BadRequestError) as refused:
        ears.hear(sound, "qwen3_asr", language="klingon")
    assert refused.value.param == "language"
    assert "en" in refused.value.message


def test_words_are_said_by_whisper_and_refused_with_a_way_out_by_qwen(ears: Ears) -> None:
    asked: dict[str, Any] = {"response_format": "verbose_json", "timestamp_granularities": ["word"]}
    answer = ears.hear(wav(SHORT), "whisper", **asked)
    TranscriptionVerbose.model_validate(answer.to_dict())
    assert all(0 <= one.start <= one.end for one in answer.words)
    with pytest.raises(openai.BadRequestError) as refused:
        ears.hear(wav(SHORT), "qwen3_asr", **asked)
    assert refused.value.param == "timestamp_granularities"
    assert "whisper" in refused.value.message.lower()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=strategies.data())
def test_bytes_that_are_no_recording_are_refused_and_the_worker_lives(ears: Ears, data: strategies.DataObject) -> None:
    """Cut anywhere, with any bytes of the header changed, or nothing but bytes: heard, or refused with a sentence."""
    sound = bytearray(wav(spoken(SENTENCES[:1])[:RATE]))
    way = data.draw(strategies.sampled_from(["cut", "header", "bytes"]))
    if way == "cut":
        sound = sound[: data.draw(strategies.integers(1, len(sound) - 1))]
    elif way == "header":
        for at in data.draw(strategies.lists(strategies.integers(0, 43), min_size=1, max_size=4)):
            sound[at] = data.draw(strategies.integers(0, 255))
    else:
        sound = bytearray(data.draw(strategies.binary(min_size=1, max_size=400)))
    starts = ears.worker.starts
    answer = ears.api.http.post("/v1/audio/transcriptions", files={"file": ("a.wav", bytes(sound))})
    assert answer.status_code in {200, 400}, answer.text
    if way in {"cut", "bytes"}:
        assert answer.status_code == 400
    if answer.status_code == 400:
        assert answer.json()["error"]["code"] == "unreadable_audio"
    assert ears.worker.starts == starts
    assert json.loads(answer.text)
