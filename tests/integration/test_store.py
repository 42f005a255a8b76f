"""The moves of the job store, over a real Redis."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.errors import Failure, IdempotencyConflict, JobNotFinished, JobNotFound, NewerSchema, QueueFull
from app.jobs import keys, reconcile
from app.jobs.broker import Announcer, InferenceBroker
from app.jobs.claims import Claimed, Unclaimed
from app.jobs.published import read_published
from app.jobs.record import LEGAL_MOVES, TERMINAL, JobKind, JobState, Lane
from app.jobs.store import MAX_CHARGES, SCHEMA_VERSION, JobStore
from app.jobs.streams import Piece
from app.jobs.submission import Idempotency, NewJob
from app.settings import Settings


def new_job(*, waited: bool = False, idempotency: Idempotency | None = None, text: str = "hi") -> NewJob:
    request = {"messages": [{"role": "user", "content": text}]}
    return NewJob(kind=JobKind.CHAT, model="m", lane=Lane.BATCH, request=request, waited=waited, idempotency=idempotency)


def submitted(store: JobStore, *, waited: bool = False) -> str:
    return store.submit(new_job(waited=waited), max_queued=1000).job_id


def claimed(store: JobStore, job_id: str, announce: int = 1, token: str = "t") -> Claimed:
    claim = store.claim(job_id, announce, worker="home-w", token=token)
    assert isinstance(claim, Claimed)
    return claim


def test_one_of_many_claims_holds(store: JobStore) -> None:
    workers = 8
    with ThreadPoolExecutor(workers) as pool:
        for _ in range(50):
            job_id = submitted(store)
            barrier = threading.Barrier(workers)

            def claim(n: int, job_id: str = job_id, barrier: threading.Barrier = barrier) -> Claimed | Unclaimed:
                barrier.wait()
                return store.claim(job_id, 1, worker=f"w{n}", token=f"t{n}")

            answers = list(pool.map(claim, range(workers)))
            assert sum(isinstance(answer, Claimed) for answer in answers) == 1


def test_a_claim_that_is_repeated_after_a_lost_answer_still_holds(store: JobStore) -> None:
    job_id = submitted(store)
    assert claimed(store, job_id) == claimed(store, job_id)


def test_only_the_claim_that_stands_may_commit_or_publish(store: JobStore) -> None:
    job_id = submitted(store)
    claimed(store, job_id, token="old")
    store.release(job_id, "old")
    claimed(store, job_id, announce=2, token="new")
    assert store.publish_tokens([Piece(job_id, "old", [1], "stale"), Piece(job_id, "new", [2], "true")]) == [job_id]
    assert not store.commit(job_id, "old", JobState.SUCCEEDED, output=b'"stale"')
    assert store.commit(job_id, "new", JobState.SUCCEEDED, output=b'"true"')
    assert store.commit(job_id, "new", JobState.SUCCEEDED, output=b'"true"')  # repeated after a lost answer
    assert store.output(job_id).content == b'"true"'
    assert store.client.hget(keys.job(job_id), "commits") == "1"
    assert read_published(store, job_id) == {0: ([2], ["true"], [], [""], [])}


def test_a_message_with_another_announce_number_is_dropped(store: JobStore) -> None:
    job_id = submitted(store)
    assert isinstance(store.claim(job_id, 2, worker="w", token="t"), Unclaimed)
    assert isinstance(store.claim("job_nowhere", 1, worker="w", token="t"), Unclaimed)


def test_charges_count_only_without_progress_and_the_last_fails_the_job(store: JobStore) -> None:
    job_id = submitted(store)
    for attempt in range(1, MAX_CHARGES):
        claimed(store, job_id, announce=attempt, token=str(attempt))
        released = store.release(job_id, str(attempt), died_in=0)
        assert released.queue == keys.QUARANTINE
    claim = claimed(store, job_id, announce=MAX_CHARGES, token="busy")
    assert claim.suspect
    store.publish_tokens([Piece(job_id, "busy", [7], "seven")])
    assert store.release(job_id, "busy", died_in=0).outcome == "requeued"
    claimed(store, job_id, announce=MAX_CHARGES + 1, token="last")
    assert store.release(job_id, "last", died_in=0).outcome == "failed"
    error = store.get(job_id).error
    assert error is not None
    assert error.code == "worker_crashed"


def test_large_outputs_go_to_the_spool_and_leave_with_their_job(store: JobStore) -> None:
    output = b'"' + b"x" * 100_000 + b'"'
    jobs = [submitted(store), submitted(store)]
    for job_id in jobs:
        claimed(store, job_id)
        store.commit(job_id, "t", JobState.SUCCEEDED, output=output)
    store.forget(jobs[0])
    assert store.spool.sweep(older_than_s=-1) == 0  # the other job holds it still
    assert store.output(jobs[1]).content == output
    assert store.get(jobs[1]).output is None
    store.forget(jobs[1])
    assert store.spool.sweep(older_than_s=-1) == 1


def test_the_last_waiter_to_hang_up_cancels_what_nobody_submitted(store: JobStore) -> None:
    waited, kept = submitted(store, waited=True), submitted(store, waited=False)
    for job_id in (waited, kept):
        store.attach(job_id, "a")
        store.attach(job_id, "b")
        store.detach(job_id, "a")
        assert store.get(job_id).state is JobState.QUEUED
        store.detach(job_id, "b")
    assert store.get(waited).state is JobState.CANCELED
    assert store.get(kept).state is JobState.QUEUED


def test_a_waiter_that_leaves_with_a_receipt_cancels_nothing(store: JobStore) -> None:
    job_id = submitted(store, waited=True)
    store.attach(job_id, "a")
    store.keep(job_id, "a")
    store.detach(job_id, "a")
    assert store.get(job_id).state is JobState.QUEUED


def test_a_retry_with_the_same_key_joins_and_with_another_body_is_refused(store: JobStore) -> None:
    key = Idempotency(scope="chat", key="k", digest="d")
    first = store.submit(new_job(idempotency=key), max_queued=10)
    assert store.submit(new_job(idempotency=key), max_queued=10).job_id == first.job_id
    with pytest.raises(IdempotencyConflict):
        store.submit(new_job(idempotency=key.model_copy(update={"digest": "other"})), max_queued=10)
    claimed(store, first.job_id)
    store.commit(first.job_id, "t", JobState.FAILED, error=Failure(code="engine_error", message="broke"))
    assert store.submit(new_job(idempotency=key), max_queued=10).created  # a failed job frees its key


def test_a_job_with_a_key_lingers_for_its_retry(store: JobStore) -> None:
    key = Idempotency(scope="chat", key="k", digest="d")
    job_id = store.submit(new_job(waited=True, idempotency=key), max_queued=10).job_id
    store.attach(job_id, "a")
    store.detach(job_id, "a")
    assert store.expire_lingering() == []
    assert store.get(job_id).state is JobState.QUEUED
    store.attach(job_id, "b")
    assert store.client.zcard(f"{keys.PREFIX}lingering") == 0


def test_nothing_is_accepted_past_the_limit(store: JobStore) -> None:
    store.submit(new_job(), max_queued=1)
    with pytest.raises(QueueFull):
        store.submit(new_job(), max_queued=1)
    assert store.count_by_state()[JobState.QUEUED] == 1


def test_positions_come_from_records(store: JobStore) -> None:
    jobs = [submitted(store) for _ in range(3)]
    assert [store.get(job_id).position for job_id in jobs] == [0, 1, 2]
    store.cancel(jobs[0])
    assert [store.get(job_id).position for job_id in jobs[1:]] == [0, 1]
    claimed(store, jobs[2])
    store.release(jobs[2], "t")
    assert store.get(jobs[2]).position == 1  # where it was, not behind newer ones


def test_lists_are_newest_first_with_filters_and_a_cursor(store: JobStore) -> None:
    jobs = [submitted(store) for _ in range(130)]
    claimed(store, jobs[5])
    assert [job.id for job in store.list_jobs(limit=2)] == [jobs[129], jobs[128]]
    assert [job.id for job in store.list_jobs(limit=200, after=jobs[2])] == [jobs[1], jobs[0]]
    assert [job.id for job in store.list_jobs(state=JobState.RUNNING)] == [jobs[5]]
    assert len(store.list_jobs(model="m", lane=Lane.BATCH, limit=200)) == 130
    assert store.list_jobs(model="other") == []


def test_what_is_not_there_says_so(store: JobStore) -> None:
    with pytest.raises(JobNotFound):
        store.get("job_nowhere")
    with pytest.raises(JobNotFound):
        store.cancel("job_nowhere")
    with pytest.raises(JobNotFinished):
        store.output(submitted(store))


def test_records_of_a_newer_version_are_left_alone(store: JobStore) -> None:
    store.check_schema()
    store.client.set(keys.SCHEMA, SCHEMA_VERSION + 1)
    with pytest.raises(NewerSchema):
        store.check_schema()


@pytest.fixture
def announcer(settings: Settings, store: JobStore) -> Iterator[tuple[InferenceBroker, Announcer]]:
    broker = InferenceBroker(settings, broker_id="api:test")
    yield broker, Announcer(broker, store)
    broker.client.close()


def test_a_lost_message_is_announced_anew(store: JobStore, announcer: tuple[InferenceBroker, Announcer]) -> None:
    broker, announce = announcer
    job_id = submitted(store)
    announce.announce(job_id)
    assert reconcile.announce_lost(store, broker, announce) == 0
    broker.flush("m_batch")
    assert reconcile.announce_lost(store, broker, announce) == 1
    claimed(store, job_id, announce=2)


def test_messages_of_a_dead_broker_return_to_the_front_in_their_order(
    settings: Settings, store: JobStore, announcer: tuple[InferenceBroker, Announcer]
) -> None:
    broker, announce = announcer
    jobs = [submitted(store) for _ in range(4)]
    for job_id in jobs:
        announce.announce(job_id)
    dead = InferenceBroker(settings, broker_id="worker:home-dead")
    dead.do_fetch("m_batch", 2)
    broker.declare_queue("m_batch")
    assert broker.recover("worker:home-dead") == 2
    order = [store.client.hget("dramatiq:m_batch.msgs", message) for message in store.client.lrange("dramatiq:m_batch", 0, -1)]
    assert [next(job_id for job_id in jobs if job_id in str(body)) for body in order] == jobs
    dead.client.close()


def test_finished_jobs_leave_when_their_time_is_over(settings: Settings, store: JobStore) -> None:
    waited, kept = submitted(store, waited=True), submitted(store)
    for job_id in (waited, kept):
        claimed(store, job_id)
        store.commit(job_id, "t", JobState.SUCCEEDED, output=b"1")
    assert reconcile.expire(store, settings) == 0
    assert reconcile.expire(store, settings.model_copy(update={"keep_waited": settings.keep_waited * 0})) == 1
    with pytest.raises(JobNotFound):
        store.get(waited)
    assert reconcile.expire(store, settings.model_copy(update={"keep_finished": 0})) == 1
    left = {key for key in store.client.scan_iter(f"{keys.PREFIX}*") if "job" in key}
    assert left == set()


MOVES = st.lists(st.tuples(st.sampled_from(["claim", "commit", "fail", "release", "charge", "cancel", "reannounce"]), st.integers(0, 2)))


def make(store: JobStore, move: str, job_id: str, n: int) -> None:
    announce = int(str(store.client.hget(keys.job(job_id), "announce")))
    token = str(store.client.hget(keys.job(job_id), "token"))
    match move:
        case "claim":
            store.claim(job_id, announce, worker="w", token=str(n))
        case "commit":
            store.commit(job_id, token, JobState.SUCCEEDED, output=b"1")
        case "fail":
            store.commit(job_id, token, JobState.FAILED, error=Failure(code="x", message="y"))
        case "release" | "charge":
            store.release(job_id, token, died_in=0 if move == "charge" else None)
        case "cancel":
            store.cancel(job_id)
        case _:
            store.reannounce(job_id, "lost")


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=MOVES)
def test_every_move_is_legal_and_every_index_agrees(store: JobStore, moves: list[tuple[str, int]]) -> None:
    jobs = [submitted(store) for _ in range(3)]
    for n, (move, which) in enumerate(moves):
        make(store, move, jobs[which], n)
    history: dict[str, JobState] = {}
    log: Any = store.client.xrange(keys.EVENTS)
    for _, event in log:
        if event["job"] in jobs:
            to = JobState(event["state"])
            assert event["job"] not in history or to in LEGAL_MOVES[history[event["job"]]]
            history[event["job"]] = to
    for job_id in jobs:
        state = store.get(job_id).state
        assert state == history[job_id]
        assert [s for s in JobState if store.client.zscore(keys.state_index(s), job_id) is not None] == [state]
        queued = any(store.client.zscore(keys.queue(queue), job_id) is not None for queue in ("m_batch", keys.QUARANTINE))
        assert queued == (state is JobState.QUEUED)
        if state in TERMINAL:
            assert int(store.client.hget(keys.job(job_id), "commits") or 0) <= 1
    store.client.delete(keys.EVENTS)
