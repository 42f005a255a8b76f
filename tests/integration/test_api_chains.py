"""A job that is done as many, as callers see it: over HTTP and in the terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.jobs.chains import Chains, Child, Plan
from app.jobs.claims import Claimed
from app.jobs.record import JobKind, JobState
from app.settings import Settings
from tests.integration.command import mlx_local
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker
from tests.integration.test_api_jobs import events, submit


@pytest.fixture
def parent(api: Api, worker: FakeWorker) -> Claimed:
    """A job with six children of ten seconds each, of which two may run at a time."""
    submit(api)
    claimed = worker.claim()
    child = Child(kind=JobKind.CHAT, model="tiny-chat", request={"messages": []}, units=10)
    assert Chains(worker.store).plan(claimed, Plan(children=(child,) * 6, window=2, unit="seconds"))
    return claimed


def claim(worker: FakeWorker, job_id: str) -> Claimed:
    claimed = worker.try_to_claim(job_id)
    assert claimed is not None
    return claimed


def test_a_parent_is_one_job_among_others_and_lists_its_children(api: Api, worker: FakeWorker, parent: Claimed) -> None:
    worker.finish_chat(claim(worker, f"{parent.id}.0"), "one")
    shown = api.http.get(f"/v1/jobs/{parent.id}").json()
    assert (shown["state"], shown["child_count"], len(shown["children"])) == ("running", 6, 6)
    assert shown["progress"] | {"rate_per_s": 0, "eta_s": 0} == {
        "done": 10, "total": 60, "unit": "seconds", "stage": None, "rate_per_s": 0, "eta_s": 0
    }  # fmt: skip
    assert shown["waiting_for"]["detail"].startswith("1 of 6 parts are done.")
    assert [job["id"] for job in api.http.get("/v1/jobs").json()["data"]] == [parent.id]

    page = api.http.get("/v1/jobs", params={"parent": parent.id, "limit": 4}).json()
    assert [job["id"] for job in page["data"]] == [f"{parent.id}.{n}" for n in range(4)]
    assert ({job["parent"] for job in page["data"]}, page["has_more"]) == ({parent.id}, True)
    rest = api.http.get("/v1/jobs", params={"parent": parent.id, "after": page["last_id"]}).json()
    assert ([job["id"] for job in rest["data"]], rest["has_more"]) == ([f"{parent.id}.{n}" for n in (4, 5)], False)
    assert [job["id"] for job in api.http.get("/v1/jobs", params={"parent": parent.id, "state": "succeeded"}).json()["data"]] == [
        f"{parent.id}.0"
    ]
    unknown = api.http.get("/v1/jobs", params={"parent": "job_nobody"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "job_not_found")
    output = api.http.get(f"/v1/jobs/{parent.id}.0/output").json()
    assert output["choices"][0]["message"]["content"] == "one"


def test_each_end_of_a_child_is_an_event_of_its_parent(api: Api, worker: FakeWorker, parent: Claimed) -> None:
    with api.http.stream("GET", f"/v1/jobs/{parent.id}/events") as response:
        seen = events(response.iter_lines())
        assert [next(seen)["event"] for _ in range(2)] == ["state", "progress"]
        second, first = claim(worker, f"{parent.id}.1"), claim(worker, f"{parent.id}.0")
        for number, child in ((1, second), (0, first)):
            worker.finish_chat(child, "done")
            event = next(seen)
            assert (event["event"], event["data"]["child"]) == ("child", {"number": number, "state": "succeeded"})
        assert event["data"]["progress"]["done"] == 20
        assert "state" not in event["data"]  # it is not the parent's
        api.http.post(f"/v1/jobs/{parent.id}/cancel")
        last: dict[str, Any] = list(seen)[-1]
        assert (last["event"], last["data"]["state"]) == ("state", "canceled")
    states = {job["state"] for job in api.http.get("/v1/jobs", params={"parent": parent.id}).json()["data"][2:]}
    assert states == {"canceled"}


def test_the_terminal_shows_a_parent_and_lists_its_children(api_settings: Settings, worker: FakeWorker, parent: Claimed) -> None:
    worker.appear()
    worker.finish_chat(claim(worker, f"{parent.id}.0"), "one")
    shown = mlx_local(api_settings, "jobs", "show", parent.id).stdout
    assert f"children     6, {parent.id}.0 to .5; `mlx-local jobs list --parent {parent.id}` lists them" in shown
    assert "progress     10 of 60 seconds" in shown
    assert "waiting for  queue: 1 of 6 parts are done. The next one: It is next." in shown
    assert parent.id not in [line.split()[0] for line in mlx_local(api_settings, "jobs", "list", "--parent", parent.id).stdout.splitlines()]
    listed = json.loads(mlx_local(api_settings, "jobs", "list", "--parent", parent.id, "--state", "queued", "--json").stdout)
    assert [job["id"] for job in listed] == [f"{parent.id}.{n}" for n in range(1, 6)]
    status = mlx_local(api_settings, "status").stdout
    assert "of whose parts 5 queued" in status
    worker.store.cancel(parent.id)
    assert worker.store.get(f"{parent.id}.5").state is JobState.CANCELED
