"""Nothing accepted is lost: workers, API and Redis are killed, and every job ends once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.jobs import keys
from app.jobs.gateway import JobGateway
from app.jobs.record import JobKind, JobState, Lane
from app.jobs.rescue import work_id
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.scheduler.breadcrumb import Breadcrumb, slice_of
from app.settings import Settings
from tests.conftest import RedisServer
from tests.integration.test_worker_troubles import until
from tests.integration.worker_process import WorkerProcess, scripted_catalog


@pytest.fixture
def worker(settings: Settings, private_folder: Path) -> Iterator[WorkerProcess]:
    process = WorkerProcess(settings.model_copy(update={"catalog": scripted_catalog(private_folder)}))
    process.start()
    yield process
    assert process.stop() == 0


def job(script: str, lane: Lane = Lane.BATCH, *, waited: bool = False) -> NewJob:
    request = {"messages": [{"role": "user", "content": script}]}
    return NewJob(kind=JobKind.CHAT, model="scripted", lane=lane, request=request, waited=waited)


def answer(count: int) -> str:
    return "".join(f"w{n} " for n in range(count))


def assert_each_committed_once(store: JobStore, jobs: list[NewJob]) -> None:
    for new in jobs:
        record = store.get(new.id)
        assert record.state is JobState.SUCCEEDED, (record.state, record.error)
        assert store.client.hget(keys.job(new.id), "commits") == "1"
        count = int(new.request["messages"][0]["content"].split()[1])
        assert record.output["choices"][0]["message"]["content"] == answer(count)


async def everything(gateway: JobGateway, jobs: list[NewJob]) -> list[JobState]:
    async def end(new: NewJob) -> JobState:
        states = [entry.state async for entry in gateway.follow(new.id) if entry.is_end]
        assert states[-1] is not None
        return states[-1]

    return list(await asyncio.gather(*(end(new) for new in jobs)))


async def submit_all(gateway: JobGateway, jobs: list[NewJob]) -> None:
    await asyncio.gather(*(gateway.submit(new) for new in jobs))


async def first_tokens(gateway: JobGateway, new: NewJob, count: int = 3) -> None:
    """Return once the job has published something, so that a kill hits work in flight."""
    seen = 0
    async for entry in gateway.follow(new.id):
        seen += len(entry.ids)
        if seen >= count:
            return


def test_two_hundred_jobs_survive_kills_of_their_worker(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    jobs = [job(f"say {20 + n % 7}", Lane.INTERACTIVE if n % 3 else Lane.BATCH) for n in range(200)]

    async def scenario() -> None:
        gateway = await JobGateway.open(settings)
        await submit_all(gateway, jobs)
        for victim in (jobs[1], jobs[100], jobs[150]):
            await first_tokens(gateway, victim, 1)
            worker.kill()
        assert set(await everything(gateway, jobs)) == {JobState.SUCCEEDED}
        await gateway.close()

    asyncio.run(scenario())
    assert_each_committed_once(store, jobs)
    assert worker.starts >= 2


def test_a_stream_goes_on_without_repeats_after_a_kill(settings: Settings, worker: WorkerProcess) -> None:
    new = job("say 200", Lane.INTERACTIVE, waited=True)

    async def scenario() -> tuple[str, set[int]]:
        gateway = await JobGateway.open(settings)
        await gateway.submit(new)
        text = ""
        attempts: set[int] = set()
        async with gateway.waiting(new.id) as waiter:
            async for entry in waiter:
                text += entry.text
                if len(text) > 50 and len(attempts) == 1 and worker.starts == 1:
                    worker.kill()
                attempts.add(entry.attempt)
        await gateway.close()
        return text, attempts

    text, attempts = asyncio.run(scenario())
    assert text == answer(200)
    assert attempts == {1, 2}


def test_a_job_that_kills_its_worker_fails_after_three_and_its_neighbours_succeed(
    settings: Settings, store: JobStore, worker: WorkerProcess
) -> None:
    deadly = job("die")
    neighbours = [job(f"say {5 + n}") for n in range(20)]

    async def scenario() -> None:
        gateway = await JobGateway.open(settings)
        await submit_all(gateway, [*neighbours[:5], deadly, *neighbours[5:]])
        assert await everything(gateway, [deadly]) == [JobState.FAILED]
        await everything(gateway, neighbours)
        await gateway.close()

    asyncio.run(scenario())
    ended = store.get(deadly.id)
    assert ended.error is not None
    assert ended.error.code == "worker_crashed"
    assert ended.attempt == 3
    assert_each_committed_once(store, neighbours)


@pytest.mark.slow
def test_a_job_that_publishes_nothing_survives_any_number_of_kills_from_outside(
    settings: Settings, store: JobStore, worker: WorkerProcess
) -> None:
    new = job("think 300")

    async def scenario() -> None:
        gateway = await JobGateway.open(settings)
        await gateway.submit(new)
        with Breadcrumb(settings.run_dir / "worker.crumb") as crumb:
            for attempt, slices in enumerate((60, 40, 20), start=1):
                least = (work_id(new.id, attempt), slices)
                await until(lambda: any(slice_of(name) >= least for name in crumb.read()))  # noqa: B023 - called here
                worker.kill()
        assert await everything(gateway, [new]) == [JobState.SUCCEEDED]
        await gateway.close()

    asyncio.run(scenario())
    assert store.get(new.id).attempt == 4


def test_an_engine_that_fails_as_a_whole_fails_its_work_and_is_loaded_again(
    settings: Settings, store: JobStore, worker: WorkerProcess
) -> None:
    broken, after = job("raise"), job("say 3")

    async def scenario() -> None:
        gateway = await JobGateway.open(settings)
        await gateway.submit(broken)
        assert await everything(gateway, [broken]) == [JobState.FAILED]
        await gateway.submit(after)
        await everything(gateway, [after])
        await gateway.close()

    asyncio.run(scenario())
    assert_each_committed_once(store, [after])
    assert worker.starts == 1


def test_a_hundred_queued_jobs_survive_a_kill_of_redis(
    settings: Settings, store: JobStore, worker: WorkerProcess, redis_server: RedisServer
) -> None:
    jobs = [job("say 10") for _ in range(100)]

    async def scenario() -> None:
        gateway = await JobGateway.open(settings)
        await submit_all(gateway, jobs)
        await first_tokens(gateway, jobs[10], 1)
        redis_server.kill()
        redis_server.start()
        assert set(await everything(gateway, jobs)) == {JobState.SUCCEEDED}
        await gateway.close()

    asyncio.run(scenario())
    assert_each_committed_once(store, jobs)


def test_a_job_that_was_recorded_and_never_announced_runs(store: JobStore, worker: WorkerProcess, settings: Settings) -> None:
    new = job("say 4")
    store.submit(new, max_queued=10)  # and the API process dies before it can announce

    async def scenario() -> None:
        gateway = await JobGateway.open(settings)
        await everything(gateway, [new])
        await gateway.close()

    asyncio.run(scenario())
    assert_each_committed_once(store, [new])


def test_a_drain_gives_running_jobs_back_uncharged(settings: Settings, store: JobStore, private_folder: Path) -> None:
    catalog = scripted_catalog(private_folder)
    process = WorkerProcess(settings.model_copy(update={"catalog": catalog, "drain_timeout": 0}))
    process.start()
    new = job("say 100000")

    async def scenario() -> None:
        gateway = await JobGateway.open(settings)
        await gateway.submit(new)
        await first_tokens(gateway, new)
        stopping = threading.Thread(target=process.stop)
        stopping.start()
        async for entry in gateway.follow(new.id):
            if entry.state is JobState.QUEUED:
                break
        await asyncio.to_thread(stopping.join)
        await gateway.close()

    asyncio.run(scenario())
    record = store.get(new.id)
    assert record.state is JobState.QUEUED
    assert record.waiting_for is not None
    assert record.waiting_for.reason == "no_worker"
    assert store.client.hget(keys.job(new.id), "charges") == "0"


def test_a_cancelled_job_stops_within_a_step_and_frees_its_slot(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    endless = [job("say 100000", Lane.INTERACTIVE) for _ in range(8)]

    async def scenario() -> None:
        gateway = await JobGateway.open(settings)
        await submit_all(gateway, endless)
        await first_tokens(gateway, endless[-1])
        for new in endless:
            await gateway.cancel(new.id)
        after = job("say 2", Lane.INTERACTIVE)
        await gateway.submit(after)
        assert await everything(gateway, [after]) == [JobState.SUCCEEDED]
        await gateway.close()

    asyncio.run(scenario())
    assert {store.get(new.id).state for new in endless} == {JobState.CANCELED}
