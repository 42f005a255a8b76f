"""Chat completions through the official client."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import openai
import pytest

from app.api.services import Pace
from app.jobs.record import JobState, Lane, completion_id
from app.settings import Settings
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


def test_a_chat_is_a_job_whose_output_is_the_answer(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    create = api.openai.chat.completions.with_raw_response.create
    call = background.submit(create, model="Little", messages=HELLO, temperature=0, seed=5)
    job = worker.claim()
    assert (job.model, job.lane) == ("tiny-chat", Lane.INTERACTIVE)
    assert job.request == {"model": "Little", "messages": HELLO, "temperature": 0.0, "seed": 5}
    worker.say(job, "Hi ")
    worker.say(job, "you")
    worker.finish_chat(job, "Hi you")
    response = call.result()
    assert response.headers["x-job-id"] == job.id
    completion = response.parse()
    assert completion.choices[0].message.content == "Hi you"
    assert completion.id == completion_id(job.id)
    assert completion.usage is not None
    assert completion.usage.total_tokens == 10
    assert completion._request_id  # noqa: SLF001 - the client's documented name


def test_a_request_that_names_no_model_goes_to_the_role(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(api.http.post, "/v1/chat/completions", json={"messages": HELLO})
    job = worker.claim()
    worker.finish_chat(job, "Hi")
    assert call.result().json()["model"] == "tiny-chat"


def test_a_stream_is_role_then_text_then_reason_then_usage(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    options: Any = {"include_usage": True}
    call = background.submit(api.openai.chat.completions.create, model="chat", messages=HELLO, stream=True, stream_options=options)
    job = worker.claim()
    worker.say(job, "Grü")
    stream = call.result()
    worker.say(job, "ße 🎉")
    worker.finish_chat(job, "Grüße 🎉", reason="length")
    chunks = list(stream)
    assert {chunk.id for chunk in chunks} == {completion_id(job.id)}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Grüße 🎉"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices] == [None, None, None, "length"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_stream_ends_with_done_and_has_no_usage_unless_asked(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(api.http.post, "/v1/chat/completions", json={"messages": HELLO, "stream": True})
    job = worker.claim()
    worker.finish_chat(job, "")
    response = call.result()
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert response.text.endswith("data: [DONE]\n\n")
    assert '"usage"' not in response.text


def test_the_stream_of_a_rescued_job_goes_on_without_repeats(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(api.openai.chat.completions.create, model="chat", messages=HELLO, stream=True)
    first = worker.claim()
    worker.say(first, "one ", ids=[11])
    stream = call.result()
    worker.die(first)
    second = worker.claim()
    assert (second.id, second.attempt) == (first.id, 2)
    assert worker.say(first, "ghost ") == [first.id]
    worker.say(second, "two", ids=[12])
    worker.finish_chat(second, "one two")
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "one two"


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_before_the_first_token_has_its_own_status(
    api: Api, worker: FakeWorker, background: ThreadPoolExecutor, *, stream: bool
) -> None:
    call = background.submit(api.openai.chat.completions.create, model="chat", messages=HELLO, stream=stream)
    job = worker.claim()
    worker.fail(job, "context_length_exceeded", "The prompt has 9000 tokens.", "messages")
    with pytest.raises(openai.BadRequestError) as refused:
        call.result()
    assert refused.value.code == "context_length_exceeded"
    assert refused.value.param == "messages"
    assert refused.value.type == "invalid_request_error"
    assert refused.value.response.headers["x-job-id"] == job.id


def test_a_failure_after_the_first_token_is_an_error_of_the_stream(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(api.openai.chat.completions.create, model="chat", messages=HELLO, stream=True)
    job = worker.claim()
    worker.say(job, "Once")
    stream = call.result()
    worker.fail(job, "engine_error", "The engine failed.")
    with pytest.raises(openai.APIError, match="The engine failed") as broken:
        list(stream)
    assert broken.value.code == "engine_error"


def test_a_job_that_crashes_workers_is_not_tried_again_by_the_client(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    client = api.openai.with_options(max_retries=5)
    call = background.submit(client.chat.completions.create, model="chat", messages=HELLO)
    worker.fail(worker.claim(), "worker_crashed", "The worker died 3 times.")
    with pytest.raises(openai.InternalServerError) as failed:
        call.result()
    assert failed.value.code == "worker_crashed"
    assert len(worker.store.list_jobs()) == 1


def test_a_job_that_somebody_cancels_ends_its_callers_wait(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(api.openai.with_options(max_retries=3).chat.completions.create, model="chat", messages=HELLO)
    job = worker.claim()
    assert api.http.post(f"/v1/jobs/{job.id}/cancel").json()["state"] == "canceled"
    with pytest.raises(openai.ConflictError) as canceled:
        call.result()
    assert canceled.value.code == "job_canceled"


@pytest.mark.parametrize("stream", [False, True])
def test_hanging_up_stops_the_work(api: Api, worker: FakeWorker, *, stream: bool) -> None:
    with httpx.Client(base_url=api.http.base_url, trust_env=False) as client, ThreadPoolExecutor(1) as threads:
        call = threads.submit(client.post, "/v1/chat/completions", json={"messages": HELLO, "stream": stream}, timeout=0.5)
        job = worker.claim()
        with pytest.raises(httpx.ReadTimeout):
            call.result()
    worker.wait_for(job.id, JobState.CANCELED)
    assert worker.say(job, "nobody listens") == [job.id]


def test_hanging_up_amid_a_stream_stops_the_work(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(api.openai.chat.completions.create, model="chat", messages=HELLO, stream=True)
    job = worker.claim()
    worker.say(job, "Once")
    call.result().close()
    worker.wait_for(job.id, JobState.CANCELED)


def test_a_silent_stream_is_kept_alive(
    api_settings: Settings, start_api: Callable[..., Api], worker: FakeWorker, background: ThreadPoolExecutor
) -> None:
    api = start_api(api_settings, Pace(first_byte_s=0.01, keep_alive_s=0.01))
    with api.http.stream("POST", "/v1/chat/completions", json={"messages": HELLO, "stream": True}) as response:
        lines = response.iter_lines()
        first, *others = [line for line, _ in zip((line for line in lines if line), range(3), strict=False)]
        assert first.startswith(": waiting position=0 reason=no_worker No worker is running")
        assert others == [": keep-alive"] * 2
        job = worker.claim()
        worker.say(job, "Hi")
        worker.finish_chat(job, "Hi")
        assert [line for line in lines if line.startswith("data:")][-1] == "data: [DONE]"


def test_a_stream_that_began_early_reports_its_failure_inside(
    api_settings: Settings, start_api: Callable[..., Api], worker: FakeWorker
) -> None:
    api = start_api(api_settings, Pace(first_byte_s=0.0))
    stream = api.openai.chat.completions.create(model="chat", messages=HELLO, stream=True)
    worker.fail(worker.claim(), "context_length_exceeded", "Too long.")
    with pytest.raises(openai.APIError, match="Too long"):
        list(stream)


def test_flex_work_waits_in_the_batch_lane(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(api.openai.chat.completions.create, model="chat", messages=HELLO, service_tier="flex")
    job = worker.claim()
    assert job.lane is Lane.BATCH
    worker.finish_chat(job, "Hi")
    call.result()


def test_many_callers_each_get_their_own_answer(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    def ask(n: int) -> str | None:
        return api.openai.chat.completions.create(model="chat", messages=[{"role": "user", "content": str(n)}]).choices[0].message.content

    calls = [background.submit(ask, n) for n in range(16)]
    jobs = [worker.claim() for _ in calls]
    for job in jobs:
        worker.finish_chat(job, f"answer to {job.request['messages'][0]['content']}")
    assert [call.result() for call in calls] == [f"answer to {n}" for n in range(16)]


@pytest.mark.parametrize("stream", [False, True])
def test_whenever_callers_hang_up_none_of_their_jobs_stays(
    api: Api, worker: FakeWorker, background: ThreadPoolExecutor, *, stream: bool
) -> None:
    body = json.dumps({"messages": HELLO, "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    together = threading.Barrier(8)

    def leave(patience_s: float) -> None:
        with socket.create_connection(("127.0.0.1", api.port)) as connection:
            together.wait()
            connection.sendall(head + body)
            connection.settimeout(patience_s)
            with suppress(TimeoutError):
                connection.recv(1)
            while patience_s >= longest and not worker.store.list_jobs():
                pass  # on a busy machine all might leave before there is anything to cancel

    longest = 0.016
    for call in [background.submit(leave, 0.0005 * (n % 32 + 1)) for n in range(160)]:
        call.result()
    assert api.http.get("/health").status_code == 200
    # Canceled may come a moment later; that it comes is the point.
    jobs = worker.store.list_jobs(limit=1000)
    assert jobs
    for job in jobs:
        worker.wait_for(job.id, JobState.CANCELED)
