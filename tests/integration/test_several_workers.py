"""Two machines on one Redis: each serves what it can, and neither fails what the other could do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import ByteSize

from app.jobs import keys
from app.jobs.broker import Announcer, InferenceBroker
from app.jobs.claims import Claimed, Unclaimed
from app.jobs.gateway import JobGateway
from app.jobs.record import JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.jobs.wishes import Wishes
from app.settings import Settings
from tests.hub_server import HubServer, Repo
from tests.integration.test_worker_troubles import ends, job, submit, until
from tests.integration.worker_process import WorkerProcess

_GB = 10**9
_ENGINE = "tests.scripted_engine:open_frontend"


@dataclass(frozen=True)
class Site:
    """One machine: a home, a catalog, a budget, and whether the jobs are there."""

    settings: Settings
    worker: WorkerProcess

    def loads(self, model: str) -> int:
        return len(self.worker.said("model.loaded", model))

    def log(self, event: str) -> list[dict[str, object]]:
        lines = (self.settings.logs_dir / "worker.log").read_text().splitlines()
        return [entry for line in lines if (entry := json.loads(line))["event"] == event]


def site(settings: Settings, name: str, budget_gb: int, models: dict[str, tuple[str, int]], **more: str) -> Site:
    """Make a machine whose catalog has *models*, each with its repo and the GB that it needs."""
    home = settings.home.parent / name
    home.mkdir()
    entries = [
        f'[[model]]\nid = "{model}"\nrepo = "{repo}"\ntasks = ["chat"]\nengine = "{_ENGINE}"\nslots = 8\nmemory = "{need_gb}GB"\n'
        for model, (repo, need_gb) in models.items()
    ]
    (home / "catalog.toml").write_text("".join(entries))
    chosen = {"home": home, "catalog": home / "catalog.toml", "memory_budget": ByteSize(budget_gb * _GB)}
    of_home = settings.model_copy(update=chosen)
    remote = {} if name == "main" else {"MLX_LOCAL_API_URL": "http://127.0.0.1:9"}
    return Site(of_home, WorkerProcess(of_home, **remote, **more))


def folder(parent: Path, name: str) -> str:
    """Make the files of a model."""
    made = parent / name
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "model.safetensors").write_bytes(b"")
    return str(made)


@pytest.fixture
def sites(settings: Settings, store: JobStore, private_folder: Path) -> Iterator[tuple[Site, Site]]:
    """A machine with the jobs and a larger one. Both have `small` and `large`; `far` is on the larger one's disk alone."""
    small, large, far = (folder(private_folder, name) for name in ("small", "large", "far"))
    common = {"small": (small, 1), "large": (large, 6), "huge": (large, 20)}
    main = site(settings, "main", 4, {**common, "far": (str(private_folder / "nothing"), 1)})
    other = site(settings, "other", 9, {**common, "far": (far, 1)})
    for one in (main, other):
        one.worker.start()
    yield main, other
    for one in (main, other):
        assert one.worker.stop() == 0


async def both_said_what_they_have(store: JobStore) -> None:
    await until(lambda: [worker.has is not None for worker in store.workers()] == [True, True])


def test_each_of_two_machines_serves_what_it_can_and_neither_fails_what_the_other_could_do(
    settings: Settings, store: JobStore, sites: tuple[Site, Site]
) -> None:
    main, other = sites

    async def scenario() -> None:
        await both_said_what_they_have(store)
        # One job, two machines that could load its model: one load.
        gateway = await submit(settings, one := job("small", "say 3"))
        assert await ends(gateway, one) == [JobState.SUCCEEDED]
        assert main.loads("small") + other.loads("small") == 1
        # More of them than the one has slots, for a moment: it keeps up.
        await submit_all(gateway, more := [job("small", "say 100") for _ in range(12)])
        assert set(await ends(gateway, *more)) == {JobState.SUCCEEDED}
        assert main.loads("small") + other.loads("small") == 1
        # Too large for the one, and not on its disk.
        await submit_all(gateway, elsewhere := [job(model, "say 3") for model in ("large", "far") for _ in range(3)])
        assert set(await ends(gateway, *elsewhere)) == {JobState.SUCCEEDED}
        assert [(one.loads("large"), one.loads("far")) for one in sites] == [(0, 0), (1, 1)]
        # Too large for both: it is said with the larger one's numbers.
        await submit_all(gateway, hopeless := [job("huge", "say 1")])
        assert await ends(gateway, *hopeless) == [JobState.FAILED]
        # Jobs of queues that both fetch from: tokens are counted where the files are, and a suspect runs where its model can.
        counts = [NewJob(kind=JobKind.COUNT, model="far", lane=Lane.INTERACTIVE, request={"messages": []}, waited=False) for _ in range(6)]
        suspects = [job("far", "say 3") for _ in range(6)]
        for suspect in suspects:
            quarantine(settings, store, suspect)
        await submit_all(gateway, counts)
        assert set(await ends(gateway, *suspects)) == {JobState.SUCCEEDED}
        assert set(await ends(gateway, *counts)) == {JobState.FAILED}
        assert {error.code for new in counts if (error := store.get(new.id).error)} == {"unsupported_task"}, "the files were looked at"
        await unload(store, sites)
        # What one machine alone can hold waits while that is away.
        assert other.worker.stop() == 0
        await submit_all(gateway, [awaited := job("large", "say 3")])
        await until(lambda: (state := store.model_states().get("large")) is not None and state.reason == "awaited_elsewhere")
        assert store.get(awaited.id).state is JobState.QUEUED
        other.worker.start()
        assert await ends(gateway, awaited) == [JobState.SUCCEEDED]
        await gateway.close()

    asyncio.run(scenario())
    error = next(record.error for record in store.list_jobs(model="huge"))
    assert error is not None
    assert error.code == "model_too_large"
    assert "9.0 GB" in error.message, "of the larger machine"


async def submit_all(gateway: JobGateway, jobs: list[NewJob]) -> None:
    for new in jobs:
        await gateway.submit(new)


def quarantine(settings: Settings, store: JobStore, new: NewJob) -> None:
    """Leave a job as the death of a worker in its first slice leaves it."""
    store.submit(new, max_queued=100)
    assert isinstance(store.claim(new.id, 1, worker="dead-1", token="t"), Claimed)
    assert store.release(new.id, "t", died_in=1).queue == keys.QUARANTINE
    with_broker = InferenceBroker(settings, broker_id="test")
    assert Announcer(with_broker, store).announce(new.id)
    with_broker.client.close()


async def unload(store: JobStore, sites: tuple[Site, Site]) -> None:
    """A model that is to leave has left everywhere once the wish is granted, whoever looks first."""
    wishes = Wishes(store)
    wishes.say("far", "absent")
    await until(lambda: wishes.find("far") is None)
    assert len(sites[1].worker.said("model.unloaded", "far")) == 1
    wishes.say("far", "resident")
    await until(lambda: wishes.find("far") is None)
    assert [one.loads("far") for one in sites] == [0, 2]
    wishes.say("huge", "resident")
    await until(lambda: (wish := wishes.find("huge")) is not None and wish.error is not None)


def test_work_that_a_worker_does_not_know_is_left_in_its_place_for_one_that_does(
    settings: Settings, store: JobStore, sites: tuple[Site, Site]
) -> None:
    later, plain = job("small", "say 1"), job("large", "say 3")

    async def scenario() -> None:
        await both_said_what_they_have(store)
        store.submit(later, max_queued=10)
        store.client.hset(keys.job(later.id), "needs", 2)  # as a later version of the API would
        gateway = await submit(settings, plain)
        await until(lambda: any(one.log("work.too_new") for one in sites))
        assert await ends(gateway, plain) == [JobState.SUCCEEDED]
        await gateway.close()

    asyncio.run(scenario())
    for one in sites:
        assert [line["needs"] for line in one.log("work.too_new")] in ([], [2]), "it is said once"
    record = store.get(later.id)
    assert (record.state, record.attempt, record.position) == (JobState.QUEUED, 0, 0)
    announce = int(str(store.client.hget(keys.job(later.id), "announce")))
    claim = store.claim(later.id, announce, worker="newer-1", token="t", speaks=2)
    assert isinstance(claim, Claimed)


def test_a_claim_says_why_it_is_refused_and_gives_the_job_a_new_message(store: JobStore) -> None:
    new, count, coming = job("m", "say 1"), job("m", "say 1"), job("m", "say 1")
    jobs = [new, count.model_copy(update={"kind": JobKind.COUNT}), coming.model_copy(update={"kind": JobKind.DOWNLOAD})]
    for one in jobs:
        store.submit(one, max_queued=10)
        store.announced(one.id, 1, "message")
    refused = store.claim(new.id, 1, worker="w-1", token="t", leaves={"m": "room"})
    assert refused == Unclaimed(reason="elsewhere", queue="m_interactive", needs=1)
    assert isinstance(store.claim(new.id, 1, worker="w-1", token="t"), Unclaimed), "its message is another one now"
    wanted = store.to_announce(new.id)
    assert wanted is not None
    assert isinstance(store.claim(new.id, wanted.announce, worker="w-1", token="t", leaves={"other": "room"}), Claimed)
    assert isinstance(store.claim(count.id, 1, worker="w-1", token="t", leaves={"m": "files"}), Unclaimed)
    assert isinstance(store.claim(count.id, 2, worker="w-1", token="t", leaves={"m": "room"}), Claimed), "counting takes no room"
    assert isinstance(store.claim(coming.id, 1, worker="w-1", token="t", leaves={"m": "files"}), Claimed)


def test_the_files_that_a_machine_lacks_come_to_that_machine(
    settings: Settings, store: JobStore, hub: HubServer, private_folder: Path
) -> None:
    """The machine with the jobs downloads a model first, and cannot hold it: then the other one does."""
    hub.repos["org/far"] = Repo({"config.json": b"{}", "model.safetensors": b"weights"})
    main = site(settings, "main", 4, {"far": ("org/far", 6)}, HF_HOME=str(private_folder / "hf-main"))
    other = site(settings, "other", 9, {"far": ("org/far", 6)}, HF_HOME=str(private_folder / "hf-other"))
    for one in (main, other):
        one.worker.start()
    new = job("far", "say 3")

    async def scenario() -> None:
        await both_said_what_they_have(store)
        gateway = await submit(settings, new)
        assert await ends(gateway, new) == [JobState.SUCCEEDED]
        await gateway.close()

    try:
        asyncio.run(scenario())
    finally:
        for one in (main, other):
            one.worker.stop()
    assert (main.loads("far"), other.loads("far")) == (0, 1)
    fetched = store.list_jobs(kind=JobKind.DOWNLOAD)
    homes = [store.client.hget(keys.job(record.id), "home") for record in fetched]
    assert {record.state for record in fetched} == {JobState.SUCCEEDED}
    assert homes == [(other.settings.run_dir / "home-id").read_text().split()[0], None]
