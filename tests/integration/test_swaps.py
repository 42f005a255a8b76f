"""Many models in little memory: a real worker over real tiny models, on a budget that holds few of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ByteSize

from app.jobs.gateway import JobGateway
from app.jobs.record import JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.models.footprint import read_footprint
from app.models.spec import ModelSpec, Task
from app.scheduler.needs import Needs
from app.scheduler.peaks import Peaks
from app.settings import Settings
from tests.integration.test_worker_troubles import ends, job, submit, until
from tests.integration.worker_process import WorkerProcess

Tiny = Callable[[str], Path]
GB = 10**9


def entry(model: str, folder: Path, extra: str = "") -> str:
    return f'[[model]]\nid = "{model}"\nrepo = "{folder}"\ntasks = ["chat"]\n{extra}\n'


def chat(model: str, text: str = "Hello", lane: Lane = Lane.INTERACTIVE) -> NewJob:
    request = {"messages": [{"role": "user", "content": text}], "max_tokens": 4, "temperature": 0}
    return NewJob(kind=JobKind.CHAT, model=model, lane=lane, request=request, waited=False)


@contextmanager
def working(
    settings: Settings, private_folder: Path, catalog: str, budget_bytes: int | None = None
) -> Iterator[tuple[Settings, WorkerProcess]]:
    """Run a worker with a catalog and a budget."""
    file = private_folder / "catalog.toml"
    file.write_text(catalog)
    budget = None if budget_bytes is None else ByteSize(budget_bytes)
    chosen = settings.model_copy(update={"catalog": file, "memory_budget": budget})
    worker = WorkerProcess(chosen)
    worker.start()
    try:
        yield chosen, worker
    finally:
        worker.stop()


def room_for_one(folder: Path, tmp_path: Path) -> int:
    """Return a budget that holds one model of *folder*, and not two."""
    spec = ModelSpec(id="one", repo=str(folder), tasks=(Task.CHAT,))
    need = Needs(Peaks(tmp_path / "peaks.json"), cpu=True).of(spec, folder)
    assert need.load_bytes > need.weights_bytes > 0
    return need.load_bytes + need.weights_bytes // 2


def scripted(settings_folder: Path, name: str) -> Path:
    folder = settings_folder / name
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_three_models_take_turns_where_one_fits(settings: Settings, private_folder: Path, tiny_model: Tiny, tmp_path: Path) -> None:
    folder = tiny_model("qwen3-f32")
    names = ["one", "two", "three"]
    rng = random.Random(4)  # noqa: S311 - a mix that is the same every time
    mixed = [chat(rng.choice(names), f"Number {number}") for number in range(60)]
    alternating = [chat(names[number % 2], f"Turn {number}") for number in range(40)]
    everything = [*mixed, *alternating]
    first_come = 1 + sum(one.model != other.model for one, other in pairwise(everything))

    async def scenario(chosen: Settings) -> list[JobState | None]:
        gateway = await JobGateway.open(chosen)
        for new in mixed:
            await gateway.submit(new)
            await asyncio.sleep(0.05)  # they come one by one: that is what is tried
        await asyncio.gather(*(gateway.submit(new) for new in alternating))
        try:
            return await ends(gateway, *everything)
        finally:
            await gateway.close()

    catalog = "".join(entry(name, folder) for name in names)
    with working(settings, private_folder, catalog, room_for_one(folder, tmp_path)) as (chosen, worker):
        assert set(asyncio.run(scenario(chosen))) == {JobState.SUCCEEDED}
        loads = worker.said("model.loaded")
        assert set(loads) == set(names)
        assert len(loads) <= 2 * len(names) + 1
        assert len(loads) <= first_come / 4
        # One at a time, and none over another: between two loads the first model left.
        assert len(worker.said("model.unloaded")) >= len(loads) - 1


def test_fifty_at_once_for_a_model_that_is_not_there_are_one_load(settings: Settings, private_folder: Path, tiny_model: Tiny) -> None:
    many = [chat("one", f"Number {number}") for number in range(50)]

    async def scenario(chosen: Settings) -> list[JobState | None]:
        gateway = await JobGateway.open(chosen)
        await asyncio.gather(*(gateway.submit(new) for new in many))
        try:
            return await ends(gateway, *many)
        finally:
            await gateway.close()

    with working(settings, private_folder, entry("one", tiny_model("qwen3-f32"))) as (chosen, worker):
        assert set(asyncio.run(scenario(chosen))) == {JobState.SUCCEEDED}
        assert worker.said("model.loaded") == ["one"]


def test_what_always_stays_leaves_for_a_language_model_and_comes_back(settings: Settings, private_folder: Path) -> None:
    """The 16 GB rule on stand-ins, with the sizes of docs/memory.md."""
    engine = 'engine = "tests.scripted_engine:open_frontend"\n'
    catalog = "".join(
        entry(name, scripted(private_folder, name), f'{engine}memory = "{size}GB"\nresidency = "{residency}"\nidle_ttl = "{ttl}"')
        for name, size, residency, ttl in (
            ("vectors", 0.6, "always", "10m"),
            ("ears", 3.4, "always", "10m"),
            ("language", 9.5, "on-demand", "1s"),
        )
    )

    async def scenario(chosen: Settings, worker: WorkerProcess) -> None:
        await until(lambda: set(worker.said("model.loaded")) == {"vectors", "ears"})
        first = job("language", "say 3")
        gateway = await submit(chosen, first)
        assert await ends(gateway, first) == [JobState.SUCCEEDED]
        assert worker.said("model.unloaded") == ["ears"]
        # Its time is over, and there is room again.
        await until(lambda: worker.said("model.loaded", "ears") == ["ears"] * 2)
        assert worker.said("model.unloaded") == ["ears", "language"]
        # A recording comes while the language model is there: it gives way, and nobody is refused.
        second, recording = job("language", "say 3"), job("ears", "say 3")
        await gateway.submit(second)
        await ends(gateway, second)
        await gateway.submit(recording)
        assert await ends(gateway, recording) == [JobState.SUCCEEDED]
        assert worker.said("model.unloaded", "vectors") == []
        await gateway.close()

    with working(settings, private_folder, catalog, int(11.5 * GB)) as (chosen, worker):
        asyncio.run(scenario(chosen, worker))


def test_a_model_that_never_fits_is_refused_with_numbers_and_others_are_served(
    settings: Settings, store: JobStore, private_folder: Path
) -> None:
    engine = 'engine = "tests.scripted_engine:open_frontend"\n'
    catalog = entry("giant", scripted(private_folder, "giant"), f'{engine}memory = "64GB"')
    catalog += entry("small", scripted(private_folder, "small"), engine)
    giant, small = job("giant", "say 1"), job("small", "say 1")

    async def scenario(chosen: Settings) -> None:
        gateway = await submit(chosen, giant, small)
        assert await ends(gateway, giant, small) == [JobState.FAILED, JobState.SUCCEEDED]
        await gateway.close()

    with working(settings, private_folder, catalog, 16 * GB) as (chosen, _):
        asyncio.run(scenario(chosen))
    error = store.get(giant.id).error
    assert error is not None
    assert error.code == "model_too_large"
    assert "64.0 GB" in error.message
    assert "16.0 GB" in error.message


def test_a_load_that_fails_is_tried_once_for_all_who_wait(
    settings: Settings, store: JobStore, private_folder: Path, tiny_model: Tiny
) -> None:
    broken = private_folder / "broken"
    broken.mkdir()
    for file in tiny_model("qwen3-f32").iterdir():
        if file.suffix != ".safetensors":
            (broken / file.name).write_bytes(file.read_bytes())
    (broken / "model.safetensors").write_bytes(b"no weights at all")
    (broken / "model.safetensors.index.json").unlink(missing_ok=True)
    jobs = [chat("broken", f"Number {number}") for number in range(10)]

    async def scenario(chosen: Settings) -> None:
        gateway = await submit(chosen, *jobs)
        assert set(await ends(gateway, *jobs)) == {JobState.FAILED}
        await gateway.close()

    with working(settings, private_folder, entry("broken", broken)) as (chosen, worker):
        asyncio.run(scenario(chosen))
        assert len(worker.said("model.circuit_opened")) == 1
    assert {error.code for new in jobs if (error := store.get(new.id).error)} == {"model_load_failed"}


@pytest.mark.parametrize("when", ["loading", "answering"])
def test_a_worker_that_is_killed_while_models_change_leaves_nothing_behind(settings: Settings, private_folder: Path, when: str) -> None:
    engine = 'engine = "tests.{}"\nmemory = "9GB"\n'
    slow = scripted(private_folder, "patient")
    catalog = entry("patient", slow, engine.format("troubled_engine:open_patient"))
    catalog += entry("scripted", scripted(private_folder, "scripted"), engine.format("scripted_engine:open_frontend"))
    long, late = job("scripted", "say 400"), job("patient", "say 2")

    async def scenario(chosen: Settings, worker: WorkerProcess) -> None:
        gateway = await submit(chosen, *([late] if when == "loading" else [long, late]))
        if when == "loading":
            await until((slow / "loading").exists)
        else:
            await until(lambda: worker.said("model.loaded") == ["scripted"])
        worker.kill()
        await until(lambda: worker.starts == 2)
        (slow / "go").touch()
        assert set(await ends(gateway, *([late] if when == "loading" else [long, late]))) == {JobState.SUCCEEDED}
        await gateway.close()

    with working(settings, private_folder, catalog, 10 * GB) as (chosen, worker):
        asyncio.run(scenario(chosen, worker))


def test_a_worker_that_is_killed_by_an_unload_leaves_nothing_behind(settings: Settings, private_folder: Path) -> None:
    engine = 'engine = "tests.{}"\nmemory = "9GB"\n'
    clinging = scripted(private_folder, "clinging")
    catalog = entry("clinging", clinging, engine.format("troubled_engine:open_clinging"))
    catalog += entry("scripted", scripted(private_folder, "scripted"), engine.format("scripted_engine:open_frontend"))
    first, late = job("clinging", "say 2"), job("scripted", "say 2")

    async def scenario(chosen: Settings, worker: WorkerProcess) -> None:
        gateway = await submit(chosen, first)
        assert await ends(gateway, first) == [JobState.SUCCEEDED]
        await gateway.submit(late)
        assert await ends(gateway, late) == [JobState.SUCCEEDED]
        assert worker.starts == 2
        await gateway.close()

    with working(settings, private_folder, catalog, 10 * GB) as (chosen, worker):
        asyncio.run(scenario(chosen, worker))
    assert (clinging / "closed").exists()


def test_of_two_models_that_wait_for_each_others_memory_one_gives_way(
    settings: Settings, private_folder: Path, tiny_model: Tiny, tmp_path: Path
) -> None:
    """Each has a request too long to fit beside the other, in a moment in which both are at work."""
    folder = tiny_model("qwen3-f32")
    spec = ModelSpec(id="one", repo=str(folder), tasks=(Task.CHAT,))
    need = Needs(Peaks(tmp_path / "peaks.json"), cpu=True).of(spec, folder)
    request = read_footprint(folder, (Task.CHAT,), 4096, cpu=True).one_request_bytes(100, 3000)
    # Beside one model there is room for it, beside both there is not. The catalog says of each that it takes half its weights:
    # so both come in, and a slice's work counts little.
    budget = 2 * need.weights_bytes + request
    catalog = "".join(entry(name, folder, f'memory = "{need.weights_bytes // 2}B"') for name in ("one", "two"))

    def long(model: str, tokens: int) -> NewJob:
        asked = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": tokens, "temperature": 0}
        return NewJob(kind=JobKind.CHAT, model=model, lane=Lane.INTERACTIVE, request=asked, waited=False)

    busy = [long(model, 400) for model in ("one", "two")]
    giants = [long(model, 3000) for model in ("one", "two")]

    async def scenario(chosen: Settings, worker: WorkerProcess) -> None:
        gateway = await submit(chosen, *busy)
        await until(lambda: set(worker.said("model.loaded")) == {"one", "two"})
        for new in giants:
            await gateway.submit(new)
        assert set(await ends(gateway, *busy, *giants)) == {JobState.SUCCEEDED}
        await gateway.close()

    with working(settings, private_folder, catalog, budget) as (chosen, worker):
        asyncio.run(scenario(chosen, worker))
        assert len(worker.said("model.loaded")) > 2
