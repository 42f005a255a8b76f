"""What the audio routes refuse and how, and what of a form reaches the job. A worker that hears nothing stands behind them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic_core import to_json

from app.jobs.record import JobState
from app.jobs.store import JobStore
from app.settings import Settings
from tests.integration.conftest import Api, running
from tests.integration.fake_worker import FakeWorker
from tests.recordings import silence

_SOUND = {"file": ("a.wav", b"sound" * 100)}


@pytest.fixture
def ears(hearing_settings: Settings) -> Iterator[Api]:
    """A running API with a model that hears, which takes files of 1,000 bytes."""
    with running(hearing_settings.model_copy(update={"max_upload": 1000})) as api:
        yield api


def refused(answer: httpx.Response, status: int, param: str | None) -> str:
    """Insist on OpenAI's shape, or on the one of jobs' own routes, and return the sentence."""
    body = answer.json()
    error = body.get("error") or body
    assert (answer.status_code, error.get("param")) == (status, param), error
    assert {"type", "code"} <= error.keys()
    return str(error["message"] if "error" in body else error["detail"])


@pytest.mark.parametrize("route", ["transcriptions", "translations"])
@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"response_format": "docx"}, 400, "response_format"),
        ({"response_format": "diarized_json"}, 400, "response_format"),
        ({"temperature": "warm"}, 400, "temperature"),
        ({"temperature": "1.5"}, 400, "temperature"),
        ({"temperature": "nan"}, 400, "temperature"),
        ({"seed": "many"}, 400, "seed"),
        ({"prompt": "a" * 20_001}, 400, "prompt"),
        ({"hotwords": ["a"] * 1001}, 400, "hotwords"),
        ({"model": "tiny-ars"}, 404, "model"),
        ({"model": "tiny-chat"}, 400, "model"),
    ],
)
def test_a_wrong_field_is_refused_by_name(ears: Api, store: JobStore, route: str, fields: dict[str, Any], status: int, param: str) -> None:
    refused(ears.http.post(f"/v1/audio/{route}", data=fields, files=_SOUND), status, param)
    assert store.list_jobs(limit=1) == []
    assert list(store.spool.holders()) == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream": "true", "response_format": "srt"}, "stream"),
        ({"stream": "perhaps"}, "stream"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
        ({"timestamp_granularities[]": "syllable", "response_format": "verbose_json"}, "timestamp_granularities"),
        ({"include[]": "logprobs"}, "include"),
        ({"known_speaker_names[]": "Ann"}, "known_speaker_names"),
        ({"language": ""}, "language"),
    ],
)
def test_a_wrong_field_of_a_transcription_is_refused_by_name(ears: Api, store: JobStore, fields: dict[str, str], param: str) -> None:
    answer = ears.http.post("/v1/audio/transcriptions", data=fields, files=_SOUND)
    told = answer.json()["error"]["param"]
    assert answer.status_code == 400
    assert told.partition(".")[0].partition("[")[0] == param
    assert list(store.spool.holders()) == []


def test_what_is_no_form_with_one_file_is_refused(ears: Api, store: JobStore) -> None:
    url = "/v1/audio/transcriptions"
    refused(ears.http.post(url, data={"model": "asr"}), 415, None)  # a form of another type: it can hold no file
    refused(ears.http.post(url, json={"model": "asr"}), 415, None)
    refused(ears.http.post(url, files={"sound": ("a.wav", b"x")}), 400, "file")
    refused(ears.http.post(url, files={"file": (None, b"x")}), 400, "file")
    refused(ears.http.post(url, files={"file": ("a.wav", b"")}), 400, "file")
    refused(ears.http.post(url, files=[("file", ("a.wav", b"x")), ("file", ("b.wav", b"y"))]), 400, None)
    refused(ears.http.post(url, files={"file": ("a.wav", b"x" * 500_000)}), 413, None)
    refused(ears.http.post(url, content=b"--x\r\nnonsense", headers={"Content-Type": "multipart/form-data"}), 400, None)
    assert list(store.spool.holders()) == []


@pytest.mark.parametrize(
    "sent",
    [
        {"hotwords": "Lisbon, Old Mill"},
        {"hotwords": ["Lisbon", "Old Mill"]},
        {"hotwords[]": ["Lisbon", "Old Mill"]},
        {"hotwords": '["Lisbon", "Old Mill"]'},
        {"hotwords": "Lisbon\nOld Mill\n"},
    ],
)
def test_hot_words_may_be_sent_in_every_usual_way(ears: Api, worker: FakeWorker, sent: dict[str, Any]) -> None:
    answer = ears.http.post("/v1/audio/transcriptions", data=sent, files=_SOUND, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    job = worker.claim()
    assert (job.model, job.request["hotwords"]) == ("tiny-ears", ["Lisbon", "Old Mill"])


def test_the_same_key_with_the_same_file_is_the_same_job(ears: Api, worker: FakeWorker, store: JobStore) -> None:
    def ask(content: bytes) -> httpx.Response:
        headers = {"Prefer": "respond-async", "Idempotency-Key": "one"}
        return ears.http.post("/v1/audio/transcriptions", files={"file": ("a.wav", content)}, headers=headers)

    first, second = ask(b"sound"), ask(b"sound")
    assert first.json()["id"] == second.json()["id"]
    assert ask(b"other sound").status_code == 422
    assert list(store.spool.holders()) == [first.json()["id"]]
    job = worker.claim()
    worker.store.commit(job.id, job.token, JobState.SUCCEEDED, output=to_json({"text": "Hello."}))
    assert ask(b"sound").json()["id"] == first.json()["id"]


def test_a_recording_for_later_comes_in_a_form_and_other_work_does_not(ears: Api, worker: FakeWorker, store: JobStore) -> None:
    def submit(**fields: str) -> httpx.Response:
        return ears.http.post("/v1/jobs", data=fields, files={"file": ("a.wav", sound)})

    sound = silence(0.01)
    assert submit(kind="transcription", request='{"response_format": "srt"}').status_code == 202
    job = worker.claim()
    assert (job.kind, job.request["response_format"]) == ("transcription", "srt")
    assert [store.spool.get(blob) for blob in job.blobs] == [sound]
    held = list(store.spool.holders())
    assert held == [job.id]
    refused(submit(kind="chat", request='{"messages": []}'), 400, "file")
    refused(submit(kind="transcription", request='{"response_format": "docx"}'), 400, "request.response_format")
    refused(submit(kind="transcription", request="{nonsense"), 400, "request")
    refused(submit(request="{}"), 400, "kind")
    refused(ears.http.post("/v1/jobs", json={"kind": "transcription", "request": {}}), 400, "file")
    unreadable = ears.http.post("/v1/jobs", data={"kind": "transcription"}, files=_SOUND)
    assert "no recording that can be read" in refused(unreadable, 400, "file")
    assert list(store.spool.holders()) == held
