"""Who waits and who gets a receipt: ``Prefer``, and retries with an ``Idempotency-Key``."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from app.jobs.record import JobState
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}


def test_respond_async_gives_a_receipt_on_inference_routes(api: Api, worker: FakeWorker) -> None:
    prefer = {"Prefer": "respond-async"}
    for path, body in (("/v1/chat/completions", {**CHAT, "stream": True}), ("/v1/embeddings", {"input": "x"})):
        response = api.http.post(path, json=body, headers=prefer)
        job = response.json()
        assert (response.status_code, response.headers["location"]) == (202, f"/v1/jobs/{job['id']}")
        assert response.headers["preference-applied"] == "respond-async"
        assert job["lane"] == "batch"
        claimed = worker.claim()
        worker.finish_chat(claimed, "Hi") if claimed.kind == "chat" else worker.finish_embedding(claimed)
        assert api.http.get(f"/v1/jobs/{job['id']}").json()["state"] == "succeeded"


def test_wait_gives_the_answer_when_it_comes_in_time(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(api.http.post, "/v1/chat/completions", json=CHAT, headers={"Prefer": "wait=50"})
    worker.finish_chat(worker.claim(), "Hi")
    response = call.result()
    assert (response.status_code, response.headers["preference-applied"]) == (200, "wait=50")
    assert response.json()["choices"][0]["message"]["content"] == "Hi"


@pytest.mark.parametrize("prefer", ["wait=1", "respond-async, wait=1", "wait=0", 'Wait="0"; x=y, handling=strict'])
def test_wait_gives_a_receipt_when_it_does_not_and_the_job_goes_on(api: Api, worker: FakeWorker, prefer: str) -> None:
    response = api.http.post("/v1/chat/completions", json=CHAT, headers={"Prefer": prefer})
    assert response.status_code == 202
    assert "wait=" in response.headers["preference-applied"]
    job = worker.claim()
    assert job.id == response.json()["id"]
    api.http.close()  # whoever has a receipt may leave
    assert worker.say(job, "Hi") == []
    assert worker.finish_chat(job, "Hi")


@pytest.mark.parametrize("prefer", ["respond-async", "respond-async, wait=50", "wait=0"])
def test_a_stream_with_a_receipt_is_only_the_receipt(api: Api, worker: FakeWorker, prefer: str) -> None:
    response = api.http.post("/v1/chat/completions", json={**CHAT, "stream": True}, headers={"Prefer": prefer})
    assert (response.status_code, response.json()["lane"]) == (202, "batch")
    assert worker.finish_chat(worker.claim(), "Hi")


def test_a_caller_that_hangs_up_before_its_wait_is_over_cancels(api: Api, worker: FakeWorker) -> None:
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(api.http.post, "/v1/chat/completions", json=CHAT, headers={"Prefer": "wait=50"}, timeout=0.5)
        job = worker.claim()
        with pytest.raises(httpx.ReadTimeout):
            call.result()
    worker.wait_for(job.id, JobState.CANCELED)


def test_a_preference_that_makes_no_sense_is_ignored(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(api.http.post, "/v1/chat/completions", json=CHAT, headers={"Prefer": "wait=soon, return=minimal"})
    worker.finish_chat(worker.claim(), "Hi")
    assert call.result().status_code == 200
    assert "preference-applied" not in call.result().headers


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/chat/completions"])
def test_a_retry_with_the_same_key_and_content_is_the_same_job(api: Api, worker: FakeWorker, path: str) -> None:
    headers = {"Idempotency-Key": "once", "Prefer": "respond-async"}
    body: dict[str, Any] = {"kind": "chat", "request": CHAT} if path == "/v1/jobs" else CHAT
    first = api.http.post(path, json=body, headers=headers).json()["id"]
    spaced = json.dumps(dict(reversed(body.items())), indent=4)
    assert api.http.post(path, content=spaced, headers=headers).json()["id"] == first
    assert len(worker.store.list_jobs()) == 1
    other = api.http.post(path, json={**body, **({"lane": "interactive"} if path == "/v1/jobs" else {"seed": 1})}, headers=headers)
    assert other.status_code == 422
    assert "idempotency_conflict" in other.text
    assert len(worker.store.list_jobs()) == 1


def test_a_key_means_one_thing_on_each_route(api: Api) -> None:
    headers = {"Idempotency-Key": "once", "Prefer": "respond-async"}
    chat = api.http.post("/v1/chat/completions", json=CHAT, headers=headers).json()["id"]
    embedding = api.http.post("/v1/embeddings", json={"input": "x"}, headers=headers).json()["id"]
    assert chat != embedding


def test_a_retry_joins_the_running_job_and_reads_it_from_its_start(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    def ask() -> tuple[str, str]:
        headers = {"Idempotency-Key": "mine"}
        create = api.openai.chat.completions.with_raw_response.create
        response = create(model="chat", messages=CHAT["messages"], stream=True, extra_headers=headers)
        chunks = response.parse()
        return response.headers["x-job-id"], "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    first = background.submit(ask)
    job = worker.claim()
    worker.say(job, "one ")
    second = background.submit(ask)
    worker.say(job, "two")
    worker.finish_chat(job, "one two")
    assert first.result() == second.result() == (job.id, "one two")
    assert ask() == (job.id, "one two")


def test_the_key_of_a_failed_job_may_be_used_again(api: Api, worker: FakeWorker) -> None:
    headers = {"Idempotency-Key": "again", "Prefer": "respond-async"}
    first = api.http.post("/v1/chat/completions", json=CHAT, headers=headers).json()["id"]
    worker.fail(worker.claim(), "engine_error", "It broke.")
    assert api.http.post("/v1/chat/completions", json=CHAT, headers=headers).json()["id"] != first
