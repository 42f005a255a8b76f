"""Three workers of three homes on one Redis, one of them cut off and back, one killed for good.

Every job is done and committed once, every stream is whole, and no model is loaded that nobody needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.jobs import keys
from app.jobs.gateway import JobGateway
from app.jobs.record import JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.settings import Settings
from tests.integration.load_history import Absence, history, needless_loads
from tests.integration.machines import Machine, catalog, eventually, lapse
from tests.integration.test_worker_crashes import answer

_MODELS = ("north", "east", "south", "west")
# These jobs have no media, so nobody is asked there: an API that is away is no trouble.
_ELSEWHERE = {"MLX_LOCAL_API_URL": "http://127.0.0.1:9", "MLX_LOCAL_WORKER_KEY": "mlx-of-a-worker-elsewhere"}


@pytest.fixture
def machines(settings: Settings, store: JobStore, private_folder: Path) -> Iterator[list[Machine]]:
    """Three workers, with room for one, two and three models: that of the main machine, whose clock is an hour ahead, and two others."""
    shared = settings.model_copy(update={"catalog": catalog(private_folder, *_MODELS)})
    with ExitStack() as stack:
        found = [
            Machine(shared, private_folder, "one", 1, program="tests.hasty_worker"),
            Machine(shared, private_folder, "two", 2, **_ELSEWHERE),
            Machine(shared, private_folder, "three", 3, **_ELSEWHERE),
        ]
        for machine in found:
            stack.callback(machine.close)
            machine.worker.start()
        eventually(lambda: all(machine.presence(store) for machine in found), "all workers are there")
        yield found


def jobs_of(numbers: range) -> list[NewJob]:
    return [
        NewJob(
            kind=JobKind.CHAT,
            model=_MODELS[number % len(_MODELS)],
            lane=Lane.BATCH if number % 3 else Lane.INTERACTIVE,
            request={"messages": [{"role": "user", "content": f"say {20 + number % 7}"}]},
            waited=False,
        )
        for number in numbers
    ]


async def texts_of(gateway: JobGateway, jobs: list[NewJob]) -> list[str]:
    """Follow all to their ends, and return what their streams say."""

    async def text_of(new: NewJob) -> str:
        return "".join([entry.text async for entry in gateway.follow(new.id)])

    return list(await asyncio.gather(*map(text_of, jobs)))


def assert_each_done_once(store: JobStore, jobs: list[NewJob], texts: list[str]) -> None:
    """Compare what came of jobs, and what their streams say, with what was asked."""
    for new, text in zip(jobs, texts, strict=True):
        record = store.get(new.id)
        assert record.state is JobState.SUCCEEDED, (new.id, record.state, record.error)
        assert store.client.hget(keys.job(new.id), "commits") == "1"
        whole = answer(int(new.request["messages"][0]["content"].split()[1]))
        assert record.output["choices"][0]["message"]["content"] == whole
        assert text == whole


def silence(store: JobStore, machine: Machine) -> tuple[float, set[str]]:
    """Cut a worker off while jobs are in its hands; return when, and which."""
    for _ in range(100):
        eventually(lambda: len(machine.held(store)) > 1, f"{machine.name} works")
        machine.way.hold()
        at = store.now()
        if held := machine.held(store):
            return at, held
        machine.way.mend()
    raise AssertionError


def test_what_three_workers_share_is_done_once_though_one_is_cut_off_and_one_is_killed(
    settings: Settings, store: JobStore, machines: list[Machine]
) -> None:
    _, two, three = machines
    first, later = jobs_of(range(200)), jobs_of(range(200, 300))

    def trouble() -> tuple[list[Absence], set[str]]:
        cut_at, orphans = silence(store, three)
        eventually(lambda: two.held(store), "the second one works")
        killed_at = store.now()
        two.worker.die()
        orphans |= two.held(store)
        lapse(store, two)
        lapse(store, three)
        eventually(lambda: not (two.held(store) | three.held(store)), "others take what the silent ones held")
        eventually(lambda: store.get(min(orphans)).state is JobState.SUCCEEDED, "it is done again")
        three.way.mend()
        eventually(lambda: three.presence(store), "it is back")
        return [Absence("three", cut_at, store.now()), Absence("two", killed_at)], orphans

    async def scenario() -> tuple[list[Absence], set[str], list[str]]:
        gateway = await JobGateway.open(settings)
        await asyncio.gather(*(gateway.submit(new) for new in first))
        following = asyncio.create_task(texts_of(gateway, first))
        absences, orphans = await asyncio.to_thread(trouble)
        await asyncio.gather(*(gateway.submit(new) for new in later))
        texts = [*await following, *await texts_of(gateway, later)]
        await gateway.close()
        return absences, orphans, texts

    absences, orphans, texts = asyncio.run(scenario())
    assert_each_done_once(store, [*first, *later], texts)
    assert {store.get(job).attempt for job in orphans} >= {2}
    assert any(worker_of(store, new) == three.home_id for new in later)
    told, waited = history(store, {machine.home_id: machine.name for machine in machines})
    assert {stay.model for stay in told} == set(_MODELS)
    assert needless_loads(told, waited, absences) == []


def worker_of(store: JobStore, new: NewJob) -> str:
    """Return the home that did a job."""
    return str(store.client.hget(keys.job(new.id), "worker")).partition("-")[0]
