"""Corners of the job store: retries that join, leases by the thousand, blobs that several hold."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.jobs import keys, reconcile
from app.jobs.gateway import JobGateway
from app.jobs.record import JobState
from app.jobs.spool import Spool
from app.jobs.store import JobStore
from app.jobs.submission import Idempotency
from app.settings import Settings
from tests.integration.test_store import claimed, new_job, submitted

KEY = Idempotency(scope="chat", key="k", digest="d")
LARGE = b'"' + b"x" * 100_000 + b'"'


def score(store: JobStore, key: str, member: str) -> float:
    found = store.client.zscore(key, member)
    assert isinstance(found, float)
    return found


def test_a_retry_that_takes_a_receipt_keeps_the_job_that_its_waiter_left(store: JobStore) -> None:
    job_id = store.submit(new_job(waited=True, idempotency=KEY), max_queued=10).job_id
    store.attach(job_id, "a")
    store.detach(job_id, "a")  # it lingers
    assert store.submit(new_job(waited=False, idempotency=KEY), max_queued=10).job_id == job_id
    assert store.client.zcard(keys.LINGERING) == 0
    store.attach(job_id, "b")
    store.detach(job_id, "b")
    assert store.get(job_id).state is JobState.QUEUED


def test_a_retry_that_waits_has_time_to_attach(store: JobStore) -> None:
    job_id = store.submit(new_job(waited=True, idempotency=KEY), max_queued=10).job_id
    store.attach(job_id, "a")
    store.detach(job_id, "a")
    store.client.zadd(keys.LINGERING, {job_id: store.now() + 0.001})
    store.submit(new_job(waited=True, idempotency=KEY), max_queued=10)
    assert score(store, keys.LINGERING, job_id) > store.now() + 5


def test_an_end_frees_no_key_that_has_passed_to_another_job(store: JobStore) -> None:
    first = store.submit(new_job(idempotency=KEY), max_queued=10).job_id
    store.client.delete(f"{keys.PREFIX}idem:{KEY.scope}:{KEY.key}")  # a day has passed
    second = store.submit(new_job(idempotency=KEY), max_queued=10).job_id
    assert second != first
    store.cancel(first)
    assert store.submit(new_job(idempotency=KEY), max_queued=10).job_id == second


def test_a_thousand_leases_are_renewed(settings: Settings, store: JobStore) -> None:
    jobs = [submitted(store, waited=True) for _ in range(1000)]
    for job_id in jobs:
        store.attach(job_id, "a")
        store.client.zadd(f"{keys.PREFIX}waiters:{job_id}", {"a": 1})
    store.renew([(job_id, "a") for job_id in jobs])
    for job_id in jobs:
        assert score(store, f"{keys.PREFIX}waiters:{job_id}", "a") > store.now()


def test_a_lease_that_ended_is_not_renewed_into_being(store: JobStore) -> None:
    job_id = submitted(store, waited=True)
    store.renew([(job_id, "a")])
    assert not store.client.exists(f"{keys.PREFIX}waiters:{job_id}")


def test_a_late_commit_does_not_take_the_output_of_the_one_that_stands(store: JobStore) -> None:
    job_id = submitted(store)
    claimed(store, job_id, token="old")
    store.release(job_id, "old")
    claimed(store, job_id, announce=2, token="new")
    assert store.commit(job_id, "new", JobState.SUCCEEDED, output=LARGE)
    assert not store.commit(job_id, "old", JobState.SUCCEEDED, output=LARGE)
    store.spool.sweep(older_than_s=-1)
    assert store.output(job_id).content == LARGE


def test_a_blob_leaves_with_the_last_job_that_holds_it(store: JobStore) -> None:
    jobs = [submitted(store) for _ in range(2)]
    for job_id in jobs:
        claimed(store, job_id)
        store.commit(job_id, "t", JobState.SUCCEEDED, output=LARGE)
    store.forget(jobs[0])
    assert store.spool.sweep(older_than_s=-1) == 0
    assert store.output(jobs[1]).content == LARGE
    store.forget(jobs[1])
    assert store.spool.sweep(older_than_s=-1) == 1


def test_a_sweep_bears_blobs_that_vanish_under_it(private_folder: Path) -> None:
    spool = Spool(private_folder / "spool")
    name = spool.put(b"content", holder="job_1")
    (private_folder / "spool" / "blobs" / name[:2] / ".writing-gone").symlink_to("nowhere")
    assert spool.sweep(older_than_s=-1) == 0


def test_a_full_store_lets_go_of_the_old_and_not_of_what_ended_just_now(settings: Settings, store: JobStore) -> None:
    job_id = submitted(store, waited=True)
    claimed(store, job_id)
    store.commit(job_id, "t", JobState.SUCCEEDED, output=b"1")
    full = settings.model_copy(update={"max_redis_bytes": 1})
    assert reconcile.expire(store, full) == 0
    assert store.output(job_id).content == b"1"
    store.client.zadd(keys.ENDED_WAITED, {job_id: store.now() - timedelta(minutes=2).total_seconds()})
    assert reconcile.expire(store, full) == 1


@pytest.mark.parametrize("field", ["type", "attempt"])
def test_waiters_outlive_an_entry_that_this_version_cannot_read(settings: Settings, store: JobStore, field: str) -> None:
    strange, job_id = submitted(store), submitted(store)
    for each in (strange, job_id):
        claimed(store, each)

    async def scenario() -> JobState | None:
        gateway = await JobGateway.open(settings)
        async with gateway.waiting(strange), gateway.waiting(job_id) as waiter:
            entry: dict[Any, Any] = {"type": "state", "attempt": "1", "state": "running"} | {
                field: "of a later version",
                "state": "unheard of",
            }
            store.client.xadd(keys.tokens(strange), entry)
            store.client.publish(keys.WAKE, strange)
            await asyncio.sleep(0.2)
            store.commit(job_id, "t", JobState.SUCCEEDED, output=b"1")
            state = await asyncio.wait_for(waiter.done(), 10)
        await gateway.close()
        return state

    assert asyncio.run(scenario()) is JobState.SUCCEEDED


def test_only_deaths_in_the_slice_that_no_attempt_survives_are_charged(store: JobStore) -> None:
    ends = {
        (7, 7): "requeued",
        (7, 7, 7): "failed",  # the same each time
        (3, 9, 9, 9): "failed",
        (9, 3, 5, 8, 1): "requeued",  # each but the first was survived before
        (1, 3, 5, 8, 9): "requeued",  # each time it survived what was charged before
        (9, 8, 7) * 2: "requeued",
        (5, 4, 3, 2, 1) * 2: "failed",  # but not for ever
    }
    for slices, outcome in ends.items():
        job_id = submitted(store)
        for attempt, died_in in enumerate(slices, start=1):
            claimed(store, job_id, announce=attempt, token=str(attempt))
            released = store.release(job_id, str(attempt), died_in=died_in)
            assert released.outcome == (outcome if attempt == len(slices) else "requeued"), slices


def test_a_worker_of_another_machine_forgets_what_the_machine_with_the_jobs_wants_forgotten(settings: Settings, store: JobStore) -> None:
    job_id = submitted(store, waited=True)
    claimed(store, job_id)
    store.commit(job_id, "t", JobState.SUCCEEDED, output=b"1")
    impatient = {"api_url": "http://127.0.0.1:9", "keep_waited": timedelta(0), "keep_finished": 0}
    elsewhere = settings.model_copy(update=impatient)
    assert reconcile.expire(store, elsewhere) == 0  # nobody has said anything

    async def ask_there(home: Settings) -> None:
        gateway = await JobGateway.open(home)
        await gateway.check_room()
        await gateway.close()

    asyncio.run(ask_there(settings))
    assert reconcile.expire(store, elsewhere) == 0
    asyncio.run(ask_there(settings.model_copy(update={"keep_waited": timedelta(0)})))
    assert reconcile.expire(store, elsewhere) == 1
