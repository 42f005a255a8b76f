"""Parents and children in the store: what a parent says of itself, and what its children inherit, leave and take along."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.errors import IllegalTransition, JobNotFound
from app.jobs import keys, reconcile
from app.jobs.broker import Announcer, InferenceBroker
from app.jobs.chains import MAX_CHILDREN, Chains, Child, Plan
from app.jobs.claims import Claimed, Unclaimed
from app.jobs.record import Job, JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.jobs.wishes import Use, Wishes
from app.settings import Settings
from tests.integration.fake_worker import FakeWorker

REQUEST: dict[str, Any] = {"messages": []}


@pytest.fixture
def chains(store: JobStore) -> Chains:
    return Chains(store)


def claim(store: JobStore, job_id: str, token: str = "t") -> Claimed:
    pending = store.to_announce(job_id)
    assert pending is not None, f"no message about {job_id} is wanted"
    claimed = store.claim(job_id, pending.announce, worker="home-w", token=token)
    assert isinstance(claimed, Claimed)
    return claimed


def parent(store: JobStore, *, deadline: datetime | None = None, blobs: tuple[str, ...] = (), job_id: str | None = None) -> Claimed:
    new = NewJob(
        kind=JobKind.CHAT, model="m", lane=Lane.INTERACTIVE, request=REQUEST, waited=False, deadline=deadline, blobs=blobs
    )  # fmt: skip
    new = new.model_copy(update={"id": job_id}) if job_id else new
    store.submit(new, max_queued=10)
    return claim(store, new.id)


def parts(*units: int, model: str = "m") -> tuple[Child, ...]:
    return tuple(Child(kind=JobKind.CHAT, model=model, request={"number": n}, units=of) for n, of in enumerate(units))


def finish(store: JobStore, job_id: str, output: object = 1) -> None:
    claimed = claim(store, job_id)
    assert store.commit(job_id, claimed.token, JobState.SUCCEEDED, output=json.dumps(output).encode())


def names(jobs: list[Job]) -> list[str]:
    return [job.id.rpartition(".")[2] for job in jobs]


def test_a_parent_says_how_far_it_is_and_what_it_waits_for(settings: Settings, store: JobStore, chains: Chains) -> None:
    first, second = parent(store), parent(store)
    chains.plan(first, Plan(children=parts(30, 10, 20), window=1, unit="seconds"))
    chains.plan(second, Plan(children=parts(1), window=1))
    waiting = store.get(second.id)
    assert (waiting.state, waiting.position) == (JobState.RUNNING, 1)
    assert waiting.waiting_for is not None
    assert waiting.waiting_for.reason == "no_worker"

    worker = FakeWorker(settings)
    worker.appear()
    worker.close()
    claim(store, f"{first.id}.0")
    busy = store.get(first.id)
    assert busy.children == [f"{first.id}.{n}" for n in range(3)]
    assert busy.waiting_for is not None
    assert (busy.waiting_for.reason, busy.waiting_for.detail, busy.position) == ("children", "0 of 3 parts are done.", None)
    held_back = store.get(f"{first.id}.1")
    assert held_back.waiting_for is not None
    assert (held_back.waiting_for.reason, held_back.position, held_back.parent) == ("siblings", None, first.id)

    store.commit(f"{first.id}.0", "t", JobState.SUCCEEDED, output=b"1")
    further = store.get(first.id)
    assert further.progress is not None
    assert (further.progress.done, further.progress.total, further.progress.unit) == (30, 60, "seconds")
    assert further.position == 1  # its second child came behind the other parent's
    assert further.waiting_for is not None
    assert further.waiting_for.detail == "1 of 3 parts are done. The next one: 1 job is before this one in m_interactive."
    for number in (1, 2):
        finish(store, f"{first.id}.{number}")
    due = store.get(first.id)
    assert due.waiting_for is not None
    assert (due.state, due.waiting_for.reason, due.position) == (JobState.RUNNING, "queue", 0)


def test_a_step_is_claimed_once_and_from_a_queue_that_waits_for_no_model(store: JobStore, chains: Chains) -> None:
    claimed = parent(store)
    chains.plan(claimed, Plan(children=parts(1, 1), step="gather"))
    assert store.to_announce(claimed.id) is None
    assert not store.commit(claimed.id, claimed.token, JobState.SUCCEEDED, output=b"1")  # the claim was given back
    for child in chains.children(claimed.id):
        finish(store, child.id, {"of": child.number})
    pending = store.to_announce(claimed.id)
    assert pending is not None
    assert pending.queue == keys.CHAINS
    assert isinstance(store.claim(claimed.id, 1, worker="w", token="early"), Unclaimed)
    step = claim(store, claimed.id, "step")
    assert (step.step, step.attempt, step.request) == ("gather", 2, REQUEST)
    assert claimed.claimed_at == claimed.started_at == step.started_at <= step.claimed_at
    assert store.client.hget(keys.job(claimed.id), "claimed_at") == f"{step.claimed_at:.3f}"
    assert store.to_announce(claimed.id) is None
    assert [child.output for child in chains.children(claimed.id)] == [b'{"of": 0}', b'{"of": 1}']
    assert store.commit(claimed.id, "step", JobState.SUCCEEDED, output=b"2")


def test_a_lost_message_of_a_step_is_announced_anew_and_those_held_back_have_none(
    settings: Settings, store: JobStore, chains: Chains
) -> None:
    broker = InferenceBroker(settings, broker_id="api:test")
    announcer = Announcer(broker, store)
    store.moves.announce = announcer.announce
    claimed = parent(store)
    chains.plan(claimed, Plan(children=parts(1, 1, 1), window=1))
    assert store.client.zcard(keys.UNANNOUNCED) == 0  # announced by whoever made the move
    broker.flush("m_interactive")
    assert reconcile.announce_lost(store, broker, announcer) == 1
    for number in range(3):
        finish(store, f"{claimed.id}.{number}")
    broker.flush(keys.CHAINS)
    assert reconcile.announce_lost(store, broker, announcer) == 1
    assert claim(store, claimed.id).step == "join"
    broker.close()


def test_a_child_that_is_cancelled_fails_its_parent_and_what_was_made_stays(store: JobStore, chains: Chains) -> None:
    claimed = parent(store)
    chains.plan(claimed, Plan(children=parts(1, 1, 1), window=2))
    finish(store, f"{claimed.id}.0", "kept")
    store.cancel(f"{claimed.id}.2")
    failed = store.get(claimed.id)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert failed.error.message == f"Part 3 of 3 ({claimed.id}.2) was not done: it was cancelled."
    assert store.output(f"{claimed.id}.0").content == b'"kept"'
    again = store.retry(claimed.id, max_queued=10)
    assert (again.retry_of, again.child_count) == (claimed.id, 0)
    with pytest.raises(IllegalTransition):
        store.retry(again.id, max_queued=10)


def test_a_parents_deadline_is_its_childrens(store: JobStore, chains: Chains) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    claimed = parent(store, deadline=soon)
    chains.plan(claimed, Plan(children=parts(1, 1), window=1))
    assert store.get(f"{claimed.id}.1").deadline == store.get(claimed.id).deadline
    store.client.hset(keys.job(f"{claimed.id}.0"), "deadline", 1)  # it has passed by the time of the claim
    assert isinstance(store.claim(f"{claimed.id}.0", 1, worker="w", token="t"), Unclaimed)
    late = store.get(claimed.id)
    assert late.state is JobState.CANCELED
    assert late.error is not None
    assert late.error.code == "deadline_exceeded"
    assert {child.state for child in chains.children(claimed.id)} == {JobState.CANCELED}


def test_children_are_listed_by_their_parent_alone(store: JobStore, chains: Chains) -> None:
    claimed = parent(store)
    chains.plan(claimed, Plan(children=parts(*[1] * 130), window=2))
    finish(store, f"{claimed.id}.0")
    assert [job.id for job in store.list_jobs(limit=100)] == [claimed.id]
    assert store.count_by_state()[JobState.QUEUED] == 0
    assert store.count_by_state(children=True)[JobState.QUEUED] == 129
    assert names(chains.list_children(claimed.id, limit=3)) == ["0", "1", "2"]
    assert names(chains.list_children(claimed.id, limit=200, after=f"{claimed.id}.127")) == ["128", "129"]
    assert names(chains.list_children(claimed.id, state=JobState.SUCCEEDED)) == ["0"]
    assert len(chains.list_children(claimed.id, model="m", lane=Lane.INTERACTIVE, limit=200)) == 130
    assert chains.list_children(claimed.id, model="other") == []
    job = store.get(claimed.id)
    assert (len(job.children), job.child_count) == (100, 130)
    for wrong in ("job_nobody", f"{claimed.id}.x"):
        with pytest.raises(JobNotFound):
            chains.list_children(claimed.id, after=wrong)
    with pytest.raises(JobNotFound):
        chains.list_children("job_nobody")


def test_a_model_that_children_need_is_in_use(store: JobStore, chains: Chains) -> None:
    claimed = parent(store)
    chains.plan(claimed, Plan(children=parts(1, 1, 1, model="other"), window=2))
    claim(store, f"{claimed.id}.0")
    assert Wishes(store).use_of("other") == Use(2, 1, 0)


def test_children_go_with_their_parent_and_all_that_they_held(settings: Settings, store: JobStore, chains: Chains) -> None:
    recording = store.spool.put(b"sound", holder="job_long")
    claimed = parent(store, blobs=(recording,), job_id="job_long")
    assert claimed.blobs == (recording,)
    pcm = store.spool.put(b"decoded", holder="job_long")
    shared = tuple(Child(kind=JobKind.CHAT, model="m", request={"start": n}, blobs=(pcm,)) for n in range(3))
    chains.plan(claimed, Plan(children=shared))
    assert claim(store, "job_long.2", "c").blobs == (pcm,)
    large = "x" * 100_000
    for number in range(2):
        finish(store, f"job_long.{number}", large)
    store.commit("job_long.2", "c", JobState.SUCCEEDED, output=b"1")
    assert json.loads(chains.children("job_long")[1].output or b"") == large
    step = claim(store, "job_long", "step")
    store.commit("job_long", "step", JobState.SUCCEEDED, output=b"1")
    assert step.attempt == 2

    again = store.retry("job_long", max_queued=10)
    store.forget("job_long.0")  # not by itself
    assert store.get("job_long.0").state is JobState.SUCCEEDED
    assert reconcile.expire(store, settings.model_copy(update={"keep_finished": 0})) == 1
    store.spool.sweep(older_than_s=-1)
    assert store.spool.path(recording).exists()  # the retry holds it
    assert not store.spool.path(pcm).exists()
    assert {holder for holder in store.spool.holders() if holder.startswith("job_long")} == set()
    assert [key for key in store.client.scan_iter(f"{keys.PREFIX}*") if "job_long" in key] == []
    assert store.get(again.id).state is JobState.QUEUED


@pytest.fixture
def many(store: JobStore, chains: Chains) -> Iterator[str]:
    """A parent of as many children as a plan may have."""
    claimed = parent(store)
    child = Child(kind=JobKind.CHAT, model="m", request=REQUEST)
    chains.plan(claimed, Plan(children=(child,) * MAX_CHILDREN))
    yield claimed.id
    store.forget(claimed.id)
    assert list(store.client.scan_iter(keys.job("*"))) == []


def test_thousands_of_children_are_planned_cancelled_and_forgotten(store: JobStore, many: str) -> None:
    assert store.count_by_state(children=True)[JobState.QUEUED] == MAX_CHILDREN
    store.cancel(many)
    assert store.count_by_state(children=True)[JobState.CANCELED] == MAX_CHILDREN
