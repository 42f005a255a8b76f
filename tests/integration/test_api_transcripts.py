"""What ``POST /v1/jobs`` takes of a recording that is to become a transcript, what it refuses, and what of it reaches the job."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from app.jobs.store import JobStore
from app.settings import Settings
from tests.integration.conftest import Api, running
from tests.integration.fake_worker import FakeWorker
from tests.scripted_transcripts import recording

_SOUND = recording(1)


@pytest.fixture
def ears(hearing_settings: Settings) -> Iterator[Api]:
    """A running API with a model that hears and one that chats."""
    with running(hearing_settings) as api:
        yield api


def submit(api: Api, content: bytes = _SOUND, key: str | None = None, **request: Any) -> httpx.Response:  # noqa: ANN401 - any field
    headers = {"Idempotency-Key": key} if key else {}
    fields = {"kind": "transcript", "request": json.dumps(request)}
    return api.http.post("/v1/jobs", data=fields, files={"file": ("talk.wav", content)}, headers=headers)


def test_a_recording_comes_in_a_form_and_its_models_are_known_by_their_ids(ears: Api, worker: FakeWorker, store: JobStore) -> None:
    answer = submit(ears, language="en", hotwords=["Basel"], correction_model="LITTLE")
    assert answer.status_code == 202
    shown = answer.json()
    assert (shown["kind"], shown["model"], shown["lane"], shown["state"]) == ("transcript", "tiny-ears", "batch", "queued")
    job = worker.claim()
    assert job.request == {"language": "en", "hotwords": ["Basel"], "correction_model": "tiny-chat", "duration_s": 8.0}
    assert [store.spool.get(blob) for blob in job.blobs] == [_SOUND]
    submit(ears)
    assert worker.claim().request["correction_model"] == "tiny-chat"
    for no_correction in ({"correction_model": ""}, {"correction_model": None}, {"stages": ["transcribe"]}):
        submit(ears, **no_correction)
        assert worker.claim().request["correction_model"] is None


def test_a_recording_may_have_been_uploaded_before(ears: Api, worker: FakeWorker, store: JobStore) -> None:
    file_id = ears.http.post("/v1/files", files={"file": ("a.wav", _SOUND)}, data={"purpose": "user_data"}).json()["id"]
    answer = ears.http.post("/v1/jobs", json={"kind": "transcript", "request": {"file_id": file_id}})
    assert answer.status_code == 202
    job = worker.claim()
    assert "file_id" not in job.request
    assert [store.spool.get(blob) for blob in job.blobs] == [_SOUND]


def test_the_same_key_with_the_same_recording_is_the_same_job(ears: Api, store: JobStore) -> None:
    first, second = submit(ears, key="one"), submit(ears, key="one")
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    assert submit(ears, key="one", language="en").status_code == 422
    assert list(store.spool.holders()) == [first.json()["id"]]


@pytest.mark.parametrize(
    ("request_", "status", "param"),
    [
        ({"model": "tiny-ars"}, 404, "model"),
        ({"model": "tiny-chat"}, 400, "model"),
        ({"correction_model": "tiny-cat"}, 404, "correction_model"),
        ({"correction_model": "tiny-ears"}, 400, "correction_model"),
        ({"stages": ["correct"]}, 400, "stages"),
        ({"stages": ["translate"]}, 400, "stages.0"),
        ({"stages": []}, 400, "stages"),
        ({"piece_characters": 10}, 400, "piece_characters"),
        ({"temperature": 3}, 400, "temperature"),
        ({"hotwords": "Basel"}, 400, "hotwords"),
        ({"language": ""}, 400, "language"),
    ],
)
def test_what_is_wrong_is_refused_by_name_and_nothing_is_kept(
    ears: Api, store: JobStore, request_: dict[str, Any], status: int, param: str
) -> None:
    problem = submit(ears, **request_)
    assert (problem.status_code, problem.json()["param"]) == (status, f"request.{param}"), problem.text
    assert store.list_jobs(limit=1) == []
    assert list(store.spool.holders()) == []


def test_what_is_no_recording_is_refused_before_there_is_a_job(ears: Api, store: JobStore) -> None:
    problem = submit(ears, b"no sound at all" * 50)
    assert (problem.status_code, problem.json()["code"], problem.json()["param"]) == (400, "unreadable_audio", "file")
    assert list(store.spool.holders()) == []
    file_id = ears.http.post("/v1/files", files={"file": ("a.wav", b"nothing")}, data={"purpose": "user_data"}).json()["id"]
    for request, status, code in (
        ({"file_id": file_id}, 400, "unreadable_audio"),
        ({"file_id": "file-none"}, 404, "file_not_found"),
        ({}, 400, "invalid_request"),
    ):
        problem = ears.http.post("/v1/jobs", json={"kind": "transcript", "request": request})
        assert (problem.status_code, problem.json()["code"], problem.json()["param"]) == (status, code, "request.file_id")
    assert list(store.spool.holders()) == [file_id]


def test_without_a_model_that_chats_a_recording_can_be_written_down_alone(
    hearing_settings: Settings, start_api: Callable[..., Api]
) -> None:
    assert hearing_settings.catalog is not None
    text = hearing_settings.catalog.read_text()
    hearing_settings.catalog.write_text(text.replace('chat = "tiny-chat"', "").replace('tasks = ["chat"]', 'tasks = ["embedding"]'))
    api = start_api(hearing_settings.model_copy(update={"profile": "16gb"}))
    problem = submit(api, correction_model="tiny-chat")
    assert (problem.status_code, problem.json()["code"]) == (400, "unsupported_task")
    assert submit(api, stages=["transcribe"]).status_code == 202
