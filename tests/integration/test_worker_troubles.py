"""A worker in trouble outside its engines' steps: loads that hang or kill, requests that break their preparation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from app.jobs import keys
from app.jobs.gateway import JobGateway
from app.jobs.record import JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.settings import Settings
from tests.integration.worker_process import WorkerProcess


def catalog_of(folder: Path, *models: str, roles: str = "", extra: str = "") -> Path:
    """Write a catalog with models named as their openers; each has a folder of its name."""
    text = ""
    for name in models:
        directory = folder / name
        directory.mkdir(exist_ok=True)
        (directory / "config.json").write_text("{}")
        (directory / "model.safetensors").write_bytes(b"")
        module = "scripted_engine:open_frontend" if name == "scripted" else f"troubled_engine:open_{name.partition('-')[0]}"
        text += f"""
        [[model]]
        id = "{name}"
        repo = "{directory}"
        tasks = ["chat", "embedding"]
        engine = "tests.{module}"
        {extra}
        """
    catalog = folder / "catalog.toml"
    catalog.write_text(f"{text}\n[roles]\n{roles}\n")
    return catalog


def job(model: str, script: str, *, waited: bool = False) -> NewJob:
    request = {"messages": [{"role": "user", "content": script}]}
    return NewJob(kind=JobKind.CHAT, model=model, lane=Lane.INTERACTIVE, request=request, waited=waited)


async def submit(settings: Settings, *jobs: NewJob) -> JobGateway:
    gateway = await JobGateway.open(settings)
    for new in jobs:
        await gateway.submit(new)
    return gateway


async def until(condition: Callable[[], bool]) -> None:
    def wait() -> None:
        while not condition():
            time.sleep(0.01)

    await asyncio.wait_for(asyncio.to_thread(wait), 20)


async def ends(gateway: JobGateway, *jobs: NewJob) -> list[JobState | None]:
    async def end(new: NewJob) -> JobState | None:
        return [entry.state async for entry in gateway.follow(new.id)][-1]

    return list(await asyncio.wait_for(asyncio.gather(*(end(new) for new in jobs)), 40))


def test_a_drain_during_a_load_gives_the_job_back_unharmed(settings: Settings, store: JobStore, private_folder: Path) -> None:
    catalog = catalog_of(private_folder, "patient")
    worker = WorkerProcess(settings.model_copy(update={"catalog": catalog}))
    worker.start()
    new = job("patient", "say 3")

    async def scenario() -> None:
        gateway = await submit(settings, new)
        await until((private_folder / "patient" / "loading").exists)
        assert await asyncio.to_thread(worker.stop) == 0
        await gateway.close()

    asyncio.run(scenario())
    record = store.get(new.id)
    assert record.state is JobState.QUEUED, record.error
    assert store.client.hget(keys.job(new.id), "charges") == "0"


def test_a_resident_model_answers_while_many_wait_for_other_models_to_load(settings: Settings, private_folder: Path) -> None:
    slow = [f"patient-{n}" for n in range(7)]
    worker = WorkerProcess(settings.model_copy(update={"catalog": catalog_of(private_folder, "scripted", *slow)}))
    worker.start()
    warm, after = job("scripted", "say 1"), job("scripted", "say 2")
    waiting = [job(model, "say 1") for model in slow for _ in range(16)]

    async def scenario() -> None:
        gateway = await submit(settings, warm)
        await ends(gateway, warm)
        for new in waiting:
            await gateway.submit(new)
        await until(lambda: any((private_folder / model / "loading").exists() for model in slow))
        await gateway.submit(after)
        assert await asyncio.wait_for(ends(gateway, after), 10) == [JobState.SUCCEEDED]
        for model in slow:
            (private_folder / model / "go").touch()
        assert set(await ends(gateway, *waiting)) == {JobState.SUCCEEDED}
        await gateway.close()

    try:
        asyncio.run(scenario())
    finally:
        worker.stop()


def test_a_resident_model_whose_load_kills_the_worker_does_not_take_the_others_down(settings: Settings, private_folder: Path) -> None:
    catalog = catalog_of(private_folder, "scripted", "deadly", roles='embedding = "deadly"', extra='residency = "always"')
    worker = WorkerProcess(settings.model_copy(update={"catalog": catalog}))
    worker.start()
    new = job("scripted", "say 300")

    async def scenario() -> None:
        gateway = await submit(settings, new)
        assert await ends(gateway, new) == [JobState.SUCCEEDED]
        await gateway.close()

    try:
        asyncio.run(scenario())
    finally:
        worker.stop()
    assert 1 <= len((private_folder / "deadly" / "deaths").read_text().split()) <= 3


def test_a_model_whose_load_kills_the_worker_does_so_three_times_however_many_ask(
    settings: Settings, store: JobStore, private_folder: Path
) -> None:
    worker = WorkerProcess(settings.model_copy(update={"catalog": catalog_of(private_folder, "scripted", "deadly")}))
    worker.start()
    doomed = [job("deadly", "say 1") for _ in range(10)]
    fine = job("scripted", "say 50")

    async def scenario() -> None:
        gateway = await submit(settings, *doomed, fine)
        assert await ends(gateway, fine, *doomed) == [JobState.SUCCEEDED, *[JobState.FAILED] * len(doomed)]
        await gateway.close()

    try:
        asyncio.run(scenario())
    finally:
        worker.stop()
    assert len((private_folder / "deadly" / "deaths").read_text().split()) == 3
    errors = [error.code for new in doomed if (error := store.get(new.id).error)]
    assert set(errors) <= {"model_load_failed", "worker_crashed"}


def test_a_panic_of_a_library_in_the_preparation_fails_its_job_alone(settings: Settings, store: JobStore, private_folder: Path) -> None:
    worker = WorkerProcess(settings.model_copy(update={"catalog": catalog_of(private_folder, "touchy")}))
    worker.start()
    broken, fine = job("touchy", "panic"), job("touchy", "say 3")

    async def scenario() -> None:
        gateway = await submit(settings, broken, fine)
        assert await ends(gateway, broken, fine) == [JobState.FAILED, JobState.SUCCEEDED]
        await gateway.close()

    try:
        asyncio.run(scenario())
    finally:
        worker.stop()
    assert worker.starts == 1


def test_a_request_that_kills_the_worker_before_its_first_step_fails_after_three(
    settings: Settings, store: JobStore, private_folder: Path
) -> None:
    worker = WorkerProcess(settings.model_copy(update={"catalog": catalog_of(private_folder, "touchy")}))
    worker.start()
    deadly, fine = job("touchy", "choke"), job("touchy", "say 3")

    async def scenario() -> None:
        gateway = await submit(settings, deadly, fine)
        assert await ends(gateway, deadly, fine) == [JobState.FAILED, JobState.SUCCEEDED]
        await gateway.close()

    try:
        asyncio.run(scenario())
    finally:
        worker.stop()
    error = store.get(deadly.id).error
    assert error is not None
    assert error.code == "worker_crashed"


def test_a_running_job_that_nobody_works_on_is_taken_up_again(settings: Settings, store: JobStore, private_folder: Path) -> None:
    worker = WorkerProcess(settings.model_copy(update={"catalog": catalog_of(private_folder, "scripted")}))
    worker.start()
    new = job("scripted", "say 3")

    async def scenario() -> None:
        gateway = await submit(settings)
        await until(lambda: bool(store.workers()))
        # What is left when Redis forgot the last second: a claim of a living worker, and its end lost.
        store.submit(new, max_queued=10)
        store.claim(new.id, 1, worker=store.workers()[0].id, token="of the run that ended")
        assert await ends(gateway, new) == [JobState.SUCCEEDED]
        await gateway.close()

    try:
        asyncio.run(scenario())
    finally:
        worker.stop()


def test_a_model_that_the_catalog_gained_runs_after_sighup(settings: Settings, store: JobStore, private_folder: Path) -> None:
    worker = WorkerProcess(settings.model_copy(update={"catalog": catalog_of(private_folder, "scripted")}))
    worker.start()
    new = job("touchy", "say 3")
    log = settings.logs_dir / "worker.log"

    async def scenario() -> None:
        await until(lambda: log.exists() and "worker.started" in log.read_text())
        catalog_of(private_folder, "scripted", "touchy")
        worker.hang_up()
        await until(lambda: "catalog.read" in log.read_text())
        gateway = await submit(settings, new)
        assert await ends(gateway, new) == [JobState.SUCCEEDED]
        await gateway.close()

    try:
        asyncio.run(scenario())
    finally:
        worker.stop()
    assert worker.starts == 1
