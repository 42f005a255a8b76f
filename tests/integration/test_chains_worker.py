"""A job that is done as many, in a real worker process that is killed at every place where that could matter."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.jobs import keys
from app.jobs.chains import Chains, Child, Plan
from app.jobs.claims import Claimed
from app.jobs.gateway import JobGateway
from app.jobs.record import Job, JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.streams import StreamEntry
from app.jobs.submission import NewJob
from app.settings import Settings
from tests.integration.test_worker_crashes import answer, everything, job
from tests.integration.worker_process import WorkerProcess, scripted_catalog
from tests.scripted_steps import chat


@pytest.fixture
def worker(settings: Settings, private_folder: Path) -> Iterator[WorkerProcess]:
    """A worker that is not started yet."""
    chained = settings.model_copy(update={"catalog": scripted_catalog(private_folder)})
    process = WorkerProcess(chained, program="tests.scripted_steps")
    yield process
    if process.starts:
        assert process.stop() == 0


def chain(says: list[str], **words: object) -> NewJob:
    script = json.dumps({"say": says, **words})
    return NewJob(kind=JobKind.CHAT, model="scripted", lane=Lane.BATCH, request=chat(f"chain {script}"), waited=False)


def run(settings: Settings, scenario: Callable[[JobGateway], Awaitable[None]]) -> None:
    async def main() -> None:
        gateway = await JobGateway.open(settings)
        try:
            await scenario(gateway)
        finally:
            await gateway.close()

    asyncio.run(main())


def ended(store: JobStore, new: NewJob, texts: list[str | None]) -> Job:
    """Return a parent that succeeded, after a look whether every child was done once and used once."""
    parent = store.get(new.id)
    assert parent.state is JobState.SUCCEEDED, parent.error
    assert parent.output == {"number": list(range(len(texts))), "texts": texts}
    assert store.client.hget(keys.job(new.id), "commits") == "1"
    for child in Chains(store).children(new.id):
        assert store.client.hget(keys.job(child.id), "commits") == "1"
    return parent


def most_at_once(store: JobStore, new: NewJob) -> int:
    """Return how many children of a parent ran at the same time at most."""
    running: set[str] = set()
    most = 0
    log: Any = store.client.xrange(keys.EVENTS)
    for _, event in log:
        if event["job"].startswith(f"{new.id}."):
            running = running | {event["job"]} if event["state"] == "running" else running - {event["job"]}
            most = max(most, len(running))
    return most


def test_a_job_is_done_as_many_in_its_window_and_joined_in_order(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    counts = [9, 1, 5, 2, 7, 3]
    new = chain([f"say {n}" for n in counts], window=2)
    seen: list[StreamEntry] = []

    async def scenario(gateway: JobGateway) -> None:
        await gateway.submit(new)
        seen.extend([entry async for entry in gateway.follow(new.id)])

    worker.start()
    run(settings, scenario)
    parent = ended(store, new, [answer(n) for n in counts])
    assert parent.usage == {"completion_tokens": sum(counts)}
    assert parent.progress is not None
    assert (parent.progress.done, parent.progress.total, parent.progress.unit) == (27, 27, "tokens")
    assert (parent.child_count, parent.attempt, parent.waiting_for) == (6, 2, None)
    assert sorted(entry.child.number for entry in seen if entry.child) == list(range(6))
    assert [entry.progress.done for entry in seen if entry.progress] == sorted(entry.progress.done for entry in seen if entry.progress)
    assert [entry.state for entry in seen if entry.state] == [JobState.RUNNING, JobState.SUCCEEDED]
    assert most_at_once(store, new) == 2


def test_a_step_may_plan_more_children(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    new = chain(["say 2", "say 3"], again=["say 4"])

    async def scenario(gateway: JobGateway) -> None:
        await gateway.submit(new)
        await everything(gateway, [new])

    worker.start()
    run(settings, scenario)
    parent = ended(store, new, [answer(2), answer(3), answer(4)])
    assert parent.progress is not None
    assert (parent.progress.done, parent.progress.total) == (9, 9)


def test_a_chain_survives_kills_of_its_worker(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    counts = [20 + n for n in range(12)]
    new = chain([f"say {n}" for n in counts], window=3)

    async def scenario(gateway: JobGateway) -> None:
        await gateway.submit(new)
        parts = 0
        async for entry in gateway.follow(new.id):
            parts += entry.type == "child"
            if entry.type == "child" and parts in {1, 4, 8}:
                worker.kill()

    worker.start()
    run(settings, scenario)
    ended(store, new, [answer(n) for n in counts])
    assert worker.starts >= 3
    assert most_at_once(store, new) <= 3


@pytest.mark.parametrize("step", ["plan", "join"])
def test_a_worker_that_dies_in_a_step_takes_it_again(settings: Settings, store: JobStore, worker: WorkerProcess, step: str) -> None:
    new = chain(["say 2", "say 3"], die_in=step, until=1 if step == "plan" else 2)

    async def scenario(gateway: JobGateway) -> None:
        await gateway.submit(new)
        await everything(gateway, [new])

    worker.start()
    run(settings, scenario)
    assert ended(store, new, [answer(2), answer(3)]).attempt == 3
    assert worker.starts == 2


def test_a_join_that_kills_every_worker_fails_and_keeps_what_children_made(
    settings: Settings, store: JobStore, worker: WorkerProcess
) -> None:
    new = chain(["say 2", "say 3"], die_in="join", until=99)

    async def scenario(gateway: JobGateway) -> None:
        await gateway.submit(new)
        assert await everything(gateway, [new]) == [JobState.FAILED]

    worker.start()
    run(settings, scenario)
    parent = store.get(new.id)
    assert parent.error is not None
    assert parent.error.code == "worker_crashed"
    assert parent.attempt == 4  # the plan, and three joins
    assert [child.state for child in Chains(store).children(new.id)] == [JobState.SUCCEEDED] * 2
    assert store.output(f"{new.id}.1")


def claim(store: JobStore, job_id: str) -> Claimed:
    pending = store.to_announce(job_id)
    assert pending is not None
    claimed = store.claim(job_id, pending.announce, worker="home-dead", token="t")
    assert isinstance(claimed, Claimed)
    return claimed


@pytest.mark.parametrize("last_words", ["plan", "last child"])
def test_what_was_recorded_and_never_announced_goes_on(settings: Settings, store: JobStore, worker: WorkerProcess, last_words: str) -> None:
    new = chain(["say 2", "say 3"], window=2)
    store.submit(new, max_queued=10)
    children = tuple(Child(kind=JobKind.CHAT, model="scripted", request=chat(f"say {n}")) for n in (2, 3))
    Chains(store).plan(claim(store, new.id), Plan(children=children))  # and the worker dies before it can announce
    if last_words == "last child":
        for n in (2, 3):
            child = claim(store, f"{new.id}.{n - 2}")
            output = json.dumps({"choices": [{"message": {"content": answer(n)}}]}).encode()
            store.commit(child.id, child.token, JobState.SUCCEEDED, output=output)

    async def scenario(gateway: JobGateway) -> None:
        await everything(gateway, [new])

    worker.start()
    run(settings, scenario)
    ended(store, new, [answer(2), answer(3)])


def test_a_child_that_fails_fails_its_parent_and_stops_the_others(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    new = chain(["say 3", "say 100000", "refuse", "say 4"], window=3)
    after = [job("say 2", Lane.INTERACTIVE) for _ in range(8)]

    async def scenario(gateway: JobGateway) -> None:
        await gateway.submit(new)
        assert await everything(gateway, [new]) == [JobState.FAILED]
        for other in after:  # a slot for each: the endless one has stopped
            await gateway.submit(other)
        await everything(gateway, after)

    worker.start()
    run(settings, scenario)
    parent = store.get(new.id)
    assert parent.error is not None
    assert parent.error.code == "engine_error"
    assert parent.error.message == f"Part 3 of 4 ({new.id}.2) failed: This work was to fail."
    states = [child.state for child in Chains(store).children(new.id)]
    assert states[1:] == [JobState.CANCELED, JobState.FAILED, JobState.CANCELED]


def test_a_plan_may_keep_failures_for_its_join(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    new = chain(["refuse", "say 3", "refuse", "say 4"], window=1, on_failure="keep")

    async def scenario(gateway: JobGateway) -> None:
        await gateway.submit(new)
        await everything(gateway, [new])

    worker.start()
    run(settings, scenario)
    ended(store, new, [None, answer(3), None, answer(4)])


@pytest.mark.parametrize("hang_up", [False, True])
def test_cancelling_a_parent_stops_its_children_within_a_step(
    settings: Settings, store: JobStore, worker: WorkerProcess, *, hang_up: bool
) -> None:
    # All slots: batch work would leave some to people.
    new = chain(["say 100000"] * 9, window=8).model_copy(update={"waited": hang_up, "lane": Lane.INTERACTIVE})
    after = job("say 2", Lane.INTERACTIVE)

    async def begun(gateway: JobGateway) -> None:
        for number in range(8):
            async for entry in gateway.follow(f"{new.id}.{number}"):
                if entry.ids:
                    break

    async def scenario(gateway: JobGateway) -> None:
        await gateway.submit(new)
        async with gateway.waiting(new.id) as waiter:
            while (await anext(waiter)).type != "progress":  # planned
                continue
            await begun(gateway)
            if not hang_up:
                await gateway.cancel(new.id)
        await gateway.submit(after)
        await everything(gateway, [new, after])

    worker.start()
    run(settings, scenario)
    assert store.get(new.id).state is JobState.CANCELED
    assert {child.state for child in Chains(store).children(new.id)} == {JobState.CANCELED}
    assert store.get(after.id).state is JobState.SUCCEEDED


def test_a_job_of_a_kind_with_steps_may_be_an_ordinary_one(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    new = job("say 3")

    async def scenario(gateway: JobGateway) -> None:
        await gateway.submit(new)
        await everything(gateway, [new])

    worker.start()
    run(settings, scenario)
    record = store.get(new.id)
    assert (record.state, record.child_count, record.attempt) == (JobState.SUCCEEDED, 0, 1)
