"""A job that has not ended by its deadline is cancelled, whether it runs, waits, or has no worker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.jobs.claims import Unclaimed
from app.jobs.record import JobState
from app.jobs.store import JobStore
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}


def submitted(api: Api, **more: object) -> str:
    response = api.http.post("/v1/jobs", json={"kind": "chat", "request": CHAT, **more})
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def test_a_caller_whose_time_is_over_is_told_even_without_a_worker(api: Api) -> None:
    response = api.http.post("/v1/chat/completions", json=CHAT, headers={"Cancel-After": "0.05"})
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "deadline_exceeded"
    job = api.http.get(f"/v1/jobs/{response.headers['x-job-id']}").json()
    assert (job["state"], job["error"]["code"]) == ("canceled", "deadline_exceeded")


def test_a_job_that_ends_in_time_keeps_its_answer(api: Api, worker: FakeWorker, background: ThreadPoolExecutor, store: JobStore) -> None:
    call = background.submit(api.http.post, "/v1/chat/completions", json=CHAT, headers={"Cancel-After": "600"})
    job = worker.claim()
    assert store.get(job.id).deadline is not None
    worker.finish_chat(job, "Hi")
    assert call.result().status_code == 200
    assert store.expire_deadlines() == []


def test_a_running_job_that_is_late_is_taken_from_its_worker(api: Api, worker: FakeWorker, store: JobStore) -> None:
    job_id = submitted(api, deadline=(datetime.now(UTC) + timedelta(seconds=0.5)).isoformat())
    job = worker.claim()
    while not store.expire_deadlines():
        assert store.get(job_id).state is JobState.RUNNING
    assert worker.say(job, "too late") == [job_id]
    assert not worker.finish_chat(job, "too late")
    assert store.get(job_id).state is JobState.CANCELED


def test_a_late_job_is_not_begun(api: Api, store: JobStore) -> None:
    job_id = submitted(api, deadline=(datetime.now(UTC) + timedelta(seconds=0.2)).isoformat())
    deadline = store.get(job_id).deadline
    assert deadline is not None
    while store.now() < deadline.timestamp():
        pass
    assert isinstance(store.claim(job_id, 1, worker="w", token="t"), Unclaimed)
    assert store.get(job_id).state is JobState.CANCELED


@pytest.mark.parametrize("header", ["", "0", "-1", "soon", "1e3", "nan"])
def test_a_header_that_is_no_time_is_refused(api: Api, store: JobStore, header: str) -> None:
    response = api.http.post("/v1/chat/completions", json=CHAT, headers={"Cancel-After": header})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "Cancel-After"
    assert store.list_jobs() == []


@pytest.mark.parametrize("moment", ["2001-01-01T00:00:00Z", "2100-01-01T00:00:00", "tomorrow", {}])
def test_a_moment_that_has_passed_or_is_none_is_refused(api: Api, store: JobStore, moment: object) -> None:
    response = api.http.post("/v1/jobs", json={"kind": "chat", "request": CHAT, "deadline": moment})
    assert response.status_code == 400
    assert "deadline" in response.text
    assert store.list_jobs() == []
