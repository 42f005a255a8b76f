"""Speech through the whole path: OpenAI's client, the API, a real worker with tiny models of Qwen3-TTS, and sound that PyAV reads."""

from __future__ import annotations

import base64
import io
import json
import wave
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import av
import httpx
import numpy as np
import openai
import pytest

from app.jobs.record import JobState
from app.models.catalog import load_catalog
from app.models.spec import Task
from app.models.voices import OPENAI_VOICES
from app.settings import Settings
from tests.integration.conftest import running
from tests.integration.speaking_stack import SHORT, Stack, home, stack

__all__ = ["home", "stack"]  # fixtures that these tests take

LONG = " ".join(f"The river number {n} rises in the hills north of the town and runs past the old mill before it ends." for n in range(5))
_RATE = 24_000
# What a codec adds: the encoder's delay, and the rest of its last frame.
_PADDING_S = {"mp3": 3 * 576 / _RATE, "opus": 0.04, "aac": 2 * 1024 / _RATE, "flac": 0.0, "wav": 0.0, "pcm": 0.0}
_TYPES = {"mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav", "pcm": "audio/pcm"}


def read(content: bytes, form: str) -> tuple[str, int, float]:
    """Return codec, rate and duration of encoded sound."""
    if form == "pcm":
        return "pcm", _RATE, len(content) / 2 / _RATE
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.audio[0]
        samples = sum(int(frame.samples) for frame in container.decode(stream))
        return stream.codec_context.name, stream.rate, samples / stream.rate


def refused(call: Callable[[], object]) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        call()
    return caught.value


def recording(seconds: float) -> bytes:
    """Return a wav file of a tone that swells and fades."""
    at = np.arange(round(seconds * 16_000)) / 16_000
    tone = (np.sin(at * 2 * np.pi * 220) * np.sin(at * 3) * 8_000).astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(tone.tobytes())
    return out.getvalue()


def test_every_format_can_be_read_and_has_the_same_sound(stack: Stack) -> None:
    expected_s = len(stack.say(form="pcm")) / 2 / _RATE
    assert expected_s > 0
    for form, media_type in _TYPES.items():
        answer = stack.api.http.post("/v1/audio/speech", json={"model": "tts", "input": SHORT, "response_format": form, "seed": 3})
        assert answer.headers["content-type"] == media_type
        codec, rate, seconds = read(answer.content, form)
        assert form in codec or form in {"wav", "pcm"}
        assert rate == (48_000 if form == "opus" else _RATE)
        assert expected_s - 0.001 <= seconds <= expected_s + _PADDING_S[form] + 0.001, form
    assert read(stack.api.openai.audio.speech.create(model="tts", voice="alloy", input="Hello.").content, "mp3")[2] > 0


def test_the_sound_comes_while_the_job_runs(stack: Stack) -> None:
    with stack.api.openai.audio.speech.with_streaming_response.create(
        model="tts", voice="alloy", input=LONG, response_format="pcm"
    ) as answer:
        pieces = answer.iter_bytes()
        assert next(pieces)
        assert stack.state(answer.headers["x-job-id"])["state"] == "running"
        assert sum(map(len, pieces)) > 0
    assert stack.state(answer.headers["x-job-id"])["state"] == "succeeded"


def test_events_carry_the_same_sound_and_end_with_its_usage(stack: Stack) -> None:
    asked = {"model": "tts", "voice": "alloy", "input": SHORT, "response_format": "wav", "seed": 3, "stream_format": "sse"}
    answer = stack.api.http.post("/v1/audio/speech", json=asked)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *told, end = [line.removeprefix("data:").strip() for line in answer.text.splitlines() if line.startswith("data:")]
    *deltas, done = map(json.loads, told)
    assert end == "[DONE]"
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    assert b"".join(base64.b64decode(delta["audio"], validate=True) for delta in deltas) == stack.say()
    assert all(delta["audio"] for delta in deltas)
    assert done["type"] == "speech.audio.done"
    usage = done["usage"]
    assert usage["input_tokens"] > 0
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > usage["input_tokens"]


def test_speed_changes_the_duration_by_as_much(stack: Stack) -> None:
    text = " ".join([SHORT] * 6)
    usual_s = read(stack.say(text), "wav")[2]
    for speed in (0.5, 2.0):
        assert read(stack.say(text, speed=speed), "wav")[2] == pytest.approx(usual_s / speed, abs=0.02)


def test_openais_voices_and_the_models_own_speak(stack: Stack) -> None:
    listed = stack.api.http.get("/v1/audio/voices", params={"model": "voice"}).json()
    own = [voice["id"] for voice in listed["data"] if voice["stands_for"] is None]
    assert own == ["vivian", "ryan", "uncle_fu"]
    assert listed["voices"] == [*own, *OPENAI_VOICES]
    stands_for = {voice["id"]: voice["stands_for"] for voice in listed["data"]}
    assert stands_for["alloy"] == "vivian"
    sounds = {name: stack.say("Hi.", voice=name) for name in (*own, "alloy", "Onyx")}
    assert sounds["alloy"] == sounds["vivian"]
    assert sounds["Onyx"] == sounds["uncle_fu"]
    assert len({sounds[name] for name in own}) == len(own)


def test_voices_are_listed_for_every_model_that_speaks(stack: Stack) -> None:
    everything = stack.api.http.get("/v1/audio/voices").json()
    assert {voice["model"] for voice in everything["data"]} == {"voice", "designer", "cloner", "small", "qwen3-tts"}
    assert {voice["id"] for voice in everything["data"] if voice["model"] == "qwen3-tts"} == set(OPENAI_VOICES)  # not here yet
    assert len(everything["voices"]) == len(set(everything["voices"]))
    assert stack.api.http.get("/v1/audio/voices", params={"model": "nobody"}).status_code == 404


def test_an_unknown_voice_is_refused_with_the_names_of_the_known(stack: Stack) -> None:
    error = refused(lambda: stack.say(voice="hal"))
    assert (error.status_code, error.param) == (400, "voice")
    assert "vivian" in error.message
    assert "alloy" in error.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("response_format", "midi"),
        ("input", ""),
        ("input", "  \n"),
        ("input", "😀 …"),
        ("input", "a" * 4097),
        ("speed", 0.2),
        ("speed", 4.1),
        ("stream_format", "morse"),
        ("language", "klingon"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(stack: Stack, field: str, value: object) -> None:
    answer = stack.api.http.post("/v1/audio/speech", json={"model": "tts", "voice": "alloy", "input": "Hi.", field: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field


def test_instructions_design_a_voice_and_are_refused_where_they_are_not_followed(stack: Stack) -> None:
    assert read(stack.say("Hi.", model="designer", instructions="A calm low voice."), "wav")[2] > 0
    assert refused(lambda: stack.say("Hi.", model="designer")).param == "instructions"
    assert read(stack.say("Hi.", instructions="Whisper."), "wav")[2] > 0
    error = refused(lambda: stack.say("Hi.", model="small", instructions="Whisper."))
    assert (error.status_code, error.param) == (400, "instructions")


def test_a_voice_is_cloned_from_an_uploaded_recording(stack: Stack) -> None:
    file = stack.api.openai.files.create(file=("me.wav", recording(2)), purpose="user_data")
    other = stack.api.openai.files.create(file=("long.wav", recording(40)), purpose="user_data")
    cloned = stack.say("Hi there.", model="cloner", ref_audio=file.id, ref_text="one two three")
    assert read(cloned, "wav")[2] > 0
    assert stack.say("Hi there.", model="cloner", ref_audio=file.id, ref_text="one two three") == cloned
    brought = f"data:audio/wav;base64,{base64.b64encode(recording(2)).decode()}"
    assert stack.say("Hi there.", model="cloner", ref_audio=brought, ref_text="one two three") == cloned
    for more, status, param in [
        ({}, 400, "ref_audio"),
        ({"ref_audio": file.id}, 400, "ref_text"),
        ({"ref_audio": other.id, "ref_text": "one"}, 400, "ref_audio"),
        ({"ref_audio": "/etc/passwd", "ref_text": "one"}, 404, "ref_audio"),
        ({"ref_audio": "data:audio/wav;base64,@", "ref_text": "one"}, 400, "ref_audio"),
        ({"ref_audio": "x" * 101, "ref_text": "one"}, 400, "ref_audio"),
    ]:
        error = refused(lambda more=more: stack.say("Hi.", model="cloner", **more))  # type: ignore[misc]
        assert (error.status_code, error.param) == (status, param)
    assert refused(lambda: stack.say("Hi.", ref_audio=file.id, ref_text="one")).param == "ref_audio"
    text = stack.api.openai.files.create(file=("me.wav", b"no sound at all"), purpose="user_data")
    unreadable = refused(lambda: stack.say("Hi.", model="cloner", ref_audio=text.id, ref_text="one"))
    assert (unreadable.status_code, unreadable.code, unreadable.param) == (400, "unreadable_audio", "ref_audio")


def test_a_receipt_leads_to_the_sound(stack: Stack) -> None:
    asked = {"model": "tts", "voice": "alloy", "input": SHORT, "seed": 3}
    receipt = stack.api.http.post("/v1/audio/speech", json=asked, headers={"Prefer": "respond-async"})
    assert receipt.status_code == 202
    assert stack.end(receipt.json()["id"]) is JobState.SUCCEEDED
    output = stack.api.http.get(f"/v1/jobs/{receipt.json()['id']}/output")
    assert output.headers["content-type"] == "audio/mpeg"
    assert output.content == stack.say(form="mp3")


def test_a_stream_outlives_its_worker_and_nothing_is_heard_of_it(stack: Stack) -> None:
    undisturbed = stack.say(LONG, form="pcm")
    asked: dict[str, Any] = {"model": "tts", "voice": "alloy", "input": LONG, "response_format": "pcm", "extra_body": {"seed": 3}}
    heard = b""
    killed = False
    with stack.api.openai.audio.speech.with_streaming_response.create(**asked) as answer:
        for piece in answer.iter_bytes():
            heard += piece
            if not killed and len(heard) > len(undisturbed) // 4:
                stack.worker.kill()
                killed = True
    assert stack.state(answer.headers["x-job-id"])["attempt"] == 2
    assert heard == undisturbed
    assert stack.api.http.get(f"/v1/jobs/{answer.headers['x-job-id']}/output").content == undisturbed


def test_who_hangs_up_cancels(stack: Stack) -> None:
    with stack.api.openai.audio.speech.with_streaming_response.create(model="tts", voice="alloy", input=LONG) as answer:
        next(answer.iter_bytes())
    assert stack.end(answer.headers["x-job-id"]) is JobState.CANCELED


def test_without_a_model_that_speaks_the_answer_says_how_to_get_one(settings: Settings) -> None:
    with running(settings) as api:
        answer = api.http.post("/v1/audio/speech", json={"model": "tts", "voice": "alloy", "input": "Hi."})
    assert answer.status_code == 404
    assert "profile" in answer.json()["error"]["message"]


def test_the_model_that_speaks_leaves_memory_after_five_minutes_without_work(settings: Settings) -> None:
    speaks = [spec for spec in load_catalog(settings.model_copy(update={"profile": "32gb"})) if Task.TTS in spec.tasks]
    assert [(spec.id, spec.idle_ttl) for spec in speaks] == [("qwen3-tts", timedelta(minutes=5))]


def test_a_client_without_a_library_gets_sound_from_four_fields(stack: Stack) -> None:
    url = f"http://127.0.0.1:{stack.api.port}/v1/audio/speech"
    answer = httpx.post(url, json={"model": "tts", "input": "Hi.", "voice": {"id": "ryan"}}, timeout=60, trust_env=False)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/mpeg")
