"""A job that has ended is done once more, as a new job: by the store and over HTTP."""

from __future__ import annotations

import pytest

from app.errors import IllegalTransition, JobNotFound, QueueFull
from app.jobs import keys
from app.jobs.broker import Announcer, InferenceBroker
from app.jobs.claims import Claimed
from app.jobs.record import JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.settings import Settings
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker

REQUEST = {"messages": [{"role": "user", "content": "Grüße"}], "seed": 3, "stream": False}


def ended(store: JobStore) -> str:
    """Submit a job that a caller waits on, and cancel it."""
    new = NewJob(kind=JobKind.CHAT, model="m", lane=Lane.INTERACTIVE, request=REQUEST, waited=True)
    return store.cancel(store.submit(new, max_queued=100).job_id).id


def test_a_retry_is_a_submitted_job_with_the_same_request(store: JobStore) -> None:
    first = ended(store)
    job = store.retry(first, max_queued=100)
    claim = store.claim(job.id, 1, worker="w", token="t")

    assert (job.retry_of, job.state, job.model, job.lane) == (first, JobState.QUEUED, "m", Lane.INTERACTIVE)
    assert store.client.hget(keys.job(job.id), "waited") == "0"
    assert isinstance(claim, Claimed)
    assert claim.request == REQUEST
    assert store.get(first).state is JobState.CANCELED
    assert store.get(first).retry_of is None


def test_a_retry_is_announced_like_any_other_job(settings: Settings, store: JobStore) -> None:
    broker = InferenceBroker(settings, broker_id="test")
    job = store.retry(ended(store), max_queued=100)

    assert Announcer(broker, store).announce(job.id)
    assert broker.client.llen("dramatiq:m_interactive") == 1
    assert store.client.zscore(keys.UNANNOUNCED, job.id) is None
    broker.close()


def test_only_what_has_ended_is_retried(store: JobStore) -> None:
    new = NewJob(kind=JobKind.CHAT, model="m", lane=Lane.BATCH, request=REQUEST, waited=False)
    job_id = store.submit(new, max_queued=100).job_id

    with pytest.raises(IllegalTransition, match="is queued"):
        store.retry(job_id, max_queued=100)
    store.claim(job_id, 1, worker="w", token="t")
    with pytest.raises(IllegalTransition, match="is running"):
        store.retry(job_id, max_queued=100)
    with pytest.raises(JobNotFound):
        store.retry("job_nobody", max_queued=100)
    assert store.count_by_state()[JobState.QUEUED] == 0


def test_a_retry_is_refused_where_a_submission_would_be(store: JobStore) -> None:
    first = ended(store)
    store.retry(first, max_queued=1)

    with pytest.raises(QueueFull):
        store.retry(first, max_queued=1)


def test_the_oldest_jobs_of_a_state_come_in_their_order(store: JobStore) -> None:
    new = [NewJob(kind=JobKind.CHAT, model="m", lane=Lane.BATCH, request=REQUEST, waited=False) for _ in range(3)]
    ids = [store.submit(job, max_queued=100).job_id for job in new]

    assert [job.id for job in store.oldest(JobState.QUEUED, 2)] == ids[:2]
    assert store.oldest(JobState.RUNNING, 2) == []


def test_a_retry_over_http_is_a_receipt_for_the_new_job(api: Api, worker: FakeWorker) -> None:
    body = {"kind": "chat", "request": {"messages": REQUEST["messages"]}}
    first = api.http.post("/v1/jobs", json=body).json()["id"]
    early = api.http.post(f"/v1/jobs/{first}/retry")
    assert (early.status_code, early.json()["code"]) == (409, "illegal_transition")
    worker.fail(worker.claim(), "engine_error", "The engine broke.")

    receipt = api.http.post(f"/v1/jobs/{first}/retry")
    job = receipt.json()
    assert receipt.status_code == 202
    assert receipt.headers["location"] == f"/v1/jobs/{job['id']}"
    assert receipt.headers["x-job-id"] == job["id"] != first
    assert (job["retry_of"], job["state"], job["error"]) == (first, "queued", None)
    claim = worker.claim()
    assert (claim.id, claim.request) == (job["id"], body["request"])


def test_an_unknown_job_is_not_retried(api: Api) -> None:
    assert api.http.post("/v1/jobs/job_nobody/retry").status_code == 404
