"""``/v1/jobs``: submit, look, follow, cancel, fetch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.api.services import Pace
from app.jobs.record import JobState, Lane
from app.jobs.streams import Piece
from app.settings import Settings
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Parse a stream of server-sent events; comments are left out."""
    event: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name:
            event[name] = json.loads(value) if name == "data" else value
        elif not line and event:
            yield event
            event = {}


def submit(api: Api, **fields: object) -> dict[str, Any]:
    response = api.http.post("/v1/jobs", json={"kind": "chat", "request": CHAT, **fields})
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    return job


def test_a_submitted_job_is_accepted_with_a_receipt(api: Api, worker: FakeWorker) -> None:
    response = api.http.post("/v1/jobs", json={"kind": "chat", "request": {**CHAT, "model": "LITTLE"}})
    job = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert response.headers["x-job-id"] == job["id"]
    assert response.headers["retry-after"]
    assert (job["kind"], job["model"], job["lane"], job["state"], job["position"]) == ("chat", "tiny-chat", "batch", "queued", 0)
    assert job["waiting_for"]["reason"] == "no_worker"
    assert worker.claim().id == job["id"]


def test_a_job_is_seen_from_its_submission_to_its_output(api: Api, worker: FakeWorker) -> None:
    job_id = submit(api, lane="interactive")["id"]
    claimed = worker.claim()
    assert claimed.lane is Lane.INTERACTIVE
    running = api.http.get(f"/v1/jobs/{job_id}").json()
    assert (running["state"], running["attempt"], running["output"]) == ("running", 1, None)
    unfinished = api.http.get(f"/v1/jobs/{job_id}/output")
    assert (unfinished.status_code, unfinished.json()["code"]) == (409, "job_not_finished")
    worker.finish_chat(claimed, "Hi")
    done = api.http.get(f"/v1/jobs/{job_id}").json()
    assert done["state"] == "succeeded"
    assert done["usage"]["total_tokens"] == 10
    assert done["output"] == api.http.get(f"/v1/jobs/{job_id}/output").json()
    assert done["output"]["choices"][0]["message"]["content"] == "Hi"


def test_an_output_over_64_kib_is_fetched_by_itself(api: Api, worker: FakeWorker) -> None:
    job_id = submit(api)["id"]
    worker.finish_chat(worker.claim(), "x" * 100_000)
    assert api.http.get(f"/v1/jobs/{job_id}").json()["output"] is None
    assert len(api.http.get(f"/v1/jobs/{job_id}/output").json()["choices"][0]["message"]["content"]) == 100_000


def test_a_failed_job_tells_its_failure(api: Api, worker: FakeWorker) -> None:
    job_id = submit(api)["id"]
    worker.fail(worker.claim(), "context_length_exceeded", "Too long.", "messages")
    assert api.http.get(f"/v1/jobs/{job_id}").json()["error"] == {
        "code": "context_length_exceeded",
        "message": "Too long.",
        "param": "messages",
    }
    output = api.http.get(f"/v1/jobs/{job_id}/output")
    assert (output.status_code, output.json()["detail"]) == (400, "Too long.")


def test_cancel_may_be_repeated_and_does_not_undo_an_end(api: Api, worker: FakeWorker) -> None:
    first, second = submit(api)["id"], submit(api)["id"]
    worker.finish_chat(worker.claim(), "Hi")
    assert [api.http.post(f"/v1/jobs/{second}/cancel").json()["state"] for _ in range(2)] == ["canceled"] * 2
    assert api.http.post(f"/v1/jobs/{first}/cancel").json()["state"] == "succeeded"
    gone = api.http.get(f"/v1/jobs/{second}/output")
    assert (gone.status_code, gone.json()["code"]) == (409, "job_canceled")


def test_an_unknown_job_is_a_problem(api: Api) -> None:
    for path in ("", "/output", "/events"):
        response = api.http.get(f"/v1/jobs/job_unknown{path}")
        assert (response.status_code, response.json()["code"]) == (404, "job_not_found")
        assert response.headers["content-type"] == "application/problem+json"
    assert api.http.post("/v1/jobs/job_unknown/cancel").status_code == 404


def test_jobs_are_listed_newest_first_filtered_and_in_pages(api: Api, worker: FakeWorker) -> None:
    ids = [submit(api)["id"] for _ in range(5)]
    embedding = api.http.post("/v1/jobs", json={"kind": "embedding", "request": {"input": "x"}, "lane": "interactive"}).json()["id"]
    claimed = worker.claim()

    def listed(**query: str | int) -> list[str]:
        return [job["id"] for job in api.http.get("/v1/jobs", params=query).json()["data"]]

    assert listed() == [embedding, *reversed(ids)]
    assert listed(state="running") == [claimed.id]
    assert listed(kind="embedding") == listed(model="tiny-embed") == listed(lane="interactive") == listed(model="embedding") == [embedding]
    assert len(listed(model="LITTLE", state="queued")) == 4
    assert listed(model="of-yesterday") == []
    page = api.http.get("/v1/jobs", params={"limit": 4}).json()
    assert (page["has_more"], page["first_id"]) == (True, embedding)
    rest = api.http.get("/v1/jobs", params={"limit": 4, "after": page["last_id"]}).json()
    assert ([job["id"] for job in rest["data"]], rest["has_more"]) == ([ids[1], ids[0]], False)


def test_events_tell_a_job_to_its_end(api: Api, worker: FakeWorker) -> None:
    job_id = submit(api)["id"]
    with api.http.stream("GET", f"/v1/jobs/{job_id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        worker_side = worker.claim()
        worker.say(worker_side, "Hi ", ids=[5, 6])
        worker.finish_chat(worker_side, "Hi ")
        seen = list(events(response.iter_lines()))
    assert [(event["event"], event["data"].get("state") or event["data"]["text"]) for event in seen] == [
        ("state", "running"),
        ("tokens", "Hi "),
        ("state", "succeeded"),
    ]
    assert seen[1]["data"] == {"type": "tokens", "attempt": 1, "ids": [5, 6], "text": "Hi "}


def test_a_reader_that_comes_back_misses_nothing_and_sees_nothing_twice(api: Api, worker: FakeWorker) -> None:
    job_id = submit(api)["id"]
    job = worker.claim()
    path = f"/v1/jobs/{job_id}/events"
    for word in ("one ", "two ", "three "):
        worker.say(job, word)
    with api.http.stream("GET", path) as response:
        reader = events(response.iter_lines())
        before = [next(reader) for _ in range(3)]
    worker.die(job)
    again = worker.claim()
    worker.say(again, "four")
    worker.finish_chat(again, "one two three four")
    with api.http.stream("GET", path, headers={"Last-Event-ID": before[-1]["id"]}) as response:
        after = list(events(response.iter_lines()))
    texts = [event["data"]["text"] for event in before + after if event["event"] == "tokens"]
    assert texts == ["one ", "two ", "three ", "four"]
    assert [event["data"]["state"] for event in after if event["event"] == "state"] == ["queued", "running", "succeeded"]
    finished = api.http.get(path, headers={"Last-Event-ID": after[-1]["id"]})
    assert (finished.status_code, finished.content) == (204, b"")


def test_a_long_stream_is_told_whole(api: Api, worker: FakeWorker) -> None:
    job_id = submit(api)["id"]
    job = worker.claim()
    worker.store.publish_tokens([Piece(job.id, job.token, [n], f"{n} ") for n in range(2500)])
    worker.finish_chat(job, "")
    seen = list(events(api.http.get(f"/v1/jobs/{job_id}/events").iter_lines()))
    assert [event["data"]["ids"] for event in seen if event["event"] == "tokens"] == [[n] for n in range(2500)]


def test_events_of_a_job_whose_stream_is_gone_tell_how_it_ended(api: Api, worker: FakeWorker) -> None:
    job_id = submit(api)["id"]
    worker.finish_chat(worker.claim(), "Hi")
    worker.store.client.delete(f"mlx:tok:{job_id}")
    seen = list(events(api.http.get(f"/v1/jobs/{job_id}/events").iter_lines()))
    assert [event["data"]["state"] for event in seen] == ["succeeded"]


@pytest.mark.parametrize("last", ["x", "1-2-3", "9" * 30, "-1"])
def test_a_last_event_id_that_is_none_of_ours_is_refused(api: Api, last: str) -> None:
    response = api.http.get("/v1/jobs/job_x/events", headers={"Last-Event-ID": last})
    assert (response.status_code, response.json()["param"]) == (400, "Last-Event-ID")


def test_watching_a_job_and_leaving_does_not_cancel_it(api: Api, worker: FakeWorker) -> None:
    job_id = submit(api)["id"]
    job = worker.claim()
    with api.http.stream("GET", f"/v1/jobs/{job_id}/events") as response:
        next(events(response.iter_lines()))
    assert worker.say(job, "still wanted") == []
    worker.finish_chat(job, "still wanted")
    assert worker.store.get(job_id).state is JobState.SUCCEEDED


def test_silent_events_are_kept_alive(api_settings: Settings, start_api: Callable[..., Api], worker: FakeWorker) -> None:
    api = start_api(api_settings, Pace(first_byte_s=0.01, keep_alive_s=0.01))
    job_id = submit(api)["id"]
    with api.http.stream("GET", f"/v1/jobs/{job_id}/events") as response:
        lines = response.iter_lines()
        assert next(lines).startswith(": waiting position=0 reason=no_worker")
        assert [next(lines) for _ in range(5)] == ["", *[": keep-alive", ""] * 2]
        worker.finish_chat(worker.claim(), "Hi")
        assert [event["data"]["state"] for event in events(lines)][-1] == "succeeded"
