"""The GPU thread outlives whatever an engine does to it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.engines.ledger import KvAccount
from app.engines.protocols import Engine, Event, Failed, Finished, Loading, Sampling, TextWork, Work
from app.scheduler import stepping
from app.scheduler.books import Need
from app.scheduler.breadcrumb import Breadcrumb, Preparing, slice_of
from app.scheduler.gpu import GpuThread
from app.scheduler.load_deaths import LoadDeaths
from tests.scripted_engine import ScriptedEngine, ScriptedFrontend
from tests.troubled_engine import Panic


class Fragile(ScriptedEngine):
    """Raises at one call, named when it is made."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self._at = at

    def _perhaps(self, call: str) -> None:
        if call == self._at:
            raise Panic

    def add(self, work: Work) -> None:
        self._perhaps("add")
        super().add(work)

    def cancel(self, work_id: str) -> None:
        self._perhaps("cancel")
        super().cancel(work_id)

    def stepping(self) -> Sequence[str]:
        self._perhaps("stepping")
        return super().stepping()

    def step(self) -> Sequence[Event]:
        self._perhaps("step")
        if self._at == "step and close":
            raise Panic
        return super().step()

    def close(self) -> None:
        self._perhaps("close")
        if self._at == "step and close":
            raise Panic
        super().close()


class Frontend(ScriptedFrontend):
    """Opens the engine that it is given."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self._engine = engine

    def open(self, account: KvAccount | None = None) -> Loading:
        def load() -> Iterator[Engine | None]:
            yield self._engine

        return load()


class Stage:
    """A running GPU thread, its events and the models it lost."""

    def __init__(self, folder: Path) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        self.lost: list[str] = []
        self.gpu = GpuThread(self.events.put, self.lost.append, Breadcrumb(folder / "crumb"))
        self.gpu.start()

    def load(self, model: str, engine: ScriptedEngine) -> None:
        self.gpu.load(model, Frontend(engine), "").result(20)

    def ending(self) -> Event:
        while not isinstance(event := self.events.get(timeout=20), Failed | Finished):
            pass
        return event


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    stage.load("sound", ScriptedEngine())
    yield stage
    stage.gpu.stop()


def work(name: str, tokens: int = 2) -> TextWork:
    return TextWork(name, (1,), tokens, Sampling(1))


@pytest.mark.parametrize("call", ["add", "stepping", "step", "step and close"])
def test_an_engine_that_raises_fails_its_work_and_no_other(stage: Stage, call: str) -> None:
    stage.load("fragile", Fragile(call))
    stage.gpu.add("fragile", work("its own"))
    failed = stage.ending()
    assert isinstance(failed, Failed)
    assert failed.id == "its own"
    stage.gpu.add("sound", work("another"))
    assert stage.ending().id == "another"


def test_an_engine_that_cannot_cancel_is_dropped(stage: Stage) -> None:
    stage.load("fragile", Fragile("cancel"))
    stage.gpu.add("fragile", work("long", 100_000))
    stage.gpu.add("fragile", work("beside", 100_000))
    stage.gpu.cancel("fragile", "long")
    failed = stage.ending()
    assert isinstance(failed, Failed)
    assert failed.id == "beside"
    assert stage.lost == ["fragile"]


def test_an_engine_that_cannot_close_goes_all_the_same(stage: Stage) -> None:
    stage.load("fragile", Fragile("close"))
    stage.gpu.unload("fragile").result(20)
    stage.gpu.add("sound", work("another"))
    assert stage.ending().id == "another"


def test_a_load_asked_of_a_stopped_thread_is_cancelled(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.gpu.stop()
    with pytest.raises(CancelledError):
        stage.gpu.load("late", Frontend(ScriptedEngine()), "").result(20)


def test_a_stop_that_comes_during_the_last_slice_is_obeyed(tmp_path: Path) -> None:
    class Last(ScriptedEngine):
        def step(self) -> Sequence[Event]:
            stopping.start()
            while not stage.gpu._commands:  # noqa: SLF001 - the order must be there before the slice is over
                time.sleep(0.001)
            return super().step()

    stage = Stage(tmp_path)
    stopping = threading.Thread(target=stage.gpu.stop, daemon=True)
    stage.load("last", Last())
    stage.gpu.add("last", work("its own", 0))
    stage.ending()
    stopping.join(20)
    assert not stopping.is_alive()


def test_each_slice_is_named_before_it_with_its_number(tmp_path: Path) -> None:
    crumb, seen = Breadcrumb(tmp_path / "crumb"), []

    class Reading(ScriptedEngine):
        def step(self) -> Sequence[Event]:
            seen.append([slice_of(name) for name in crumb.read()])
            return super().step()

    stage = Stage(tmp_path)
    stage.load("reading", Reading())
    for name in ("job/1", "job/2#1"):
        stage.gpu.add("reading", work(name))
        stage.ending()
    stage.gpu.stop()
    assert seen == [[(name, number)] for name in ("job/1", "job/2#1") for number in (1, 2, 3)]
    assert crumb.read() == []


class Noted(ScriptedEngine):
    """Writes down, with the other engines and loads, whose slice it was."""

    def __init__(self, name: str, notes: list[str]) -> None:
        super().__init__()
        self._name, self._notes = name, notes

    def step(self) -> Sequence[Event]:
        self._notes.append(self._name)
        return super().step()


def test_what_nobody_waits_for_lets_first_answers_pass_but_not_for_ever(tmp_path: Path) -> None:
    notes: list[str] = []
    wanted = threading.Event()

    class Loaded(Frontend):
        def open(self, account: KvAccount | None = None) -> Loading:
            def load() -> Iterator[Engine | None]:
                while not wanted.is_set():
                    notes.append("load")
                    yield None
                yield ScriptedEngine()

            return load()

    stage = Stage(tmp_path)
    for name in ("batch", "asked"):
        stage.load(name, Noted(name, notes))
    stage.gpu.add("batch", replace(work("lines", 100_000), patient=True))
    load = stage.gpu.load("third", Loaded(ScriptedEngine()), "", asked=wanted.is_set)
    while "load" not in notes:
        time.sleep(0.01)
    stage.gpu.add("asked", replace(work("person", 40), prompt=tuple(b"think 40")))
    stage.ending()
    while notes[-1] == "asked":
        time.sleep(0.01)
    first = notes.index("asked")
    meanwhile = notes[first : len(notes) - notes[::-1].index("asked")]
    assert meanwhile.count("asked") == 41
    assert 1 <= meanwhile.count("batch") <= 5
    assert 1 <= meanwhile.count("load") <= 5

    # Not while somebody waits for the memory that the batch has.
    stage.gpu.leaving = frozenset({"batch"})
    del notes[:]
    stage.gpu.add("asked", replace(work("person", 40), prompt=tuple(b"think 40")))
    stage.ending()
    assert notes.count("batch") >= 35
    stage.gpu.leaving = frozenset()

    # Once its answer has begun, all take turns.
    del notes[:]
    stage.gpu.add("asked", work("person", 40))
    stage.ending()
    assert notes.count("batch") >= 35

    wanted.set()
    load.result(20)
    stage.gpu.stop()


def test_rounds_in_which_a_load_gives_way_are_no_time_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(stepping, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    load = stepping.PendingLoad("m", Frontend(ScriptedEngine()), "", Need(), Future(), lambda: False)
    load.pause(pauses=True)  # it has not begun
    now[0] += 10
    load.pause(pauses=False)
    load.steps = iter([None])
    for pauses in (False, True, True, False, False):
        load.pause(pauses=pauses)
        now[0] += 1
    assert load.paused_s == 2


def test_what_many_threads_prepare_is_named_until_each_is_done(tmp_path: Path) -> None:
    crumb = Breadcrumb(tmp_path / "crumb")
    preparing = Preparing(crumb)
    inside = threading.Barrier(9)

    def prepare(n: int) -> None:
        with preparing.naming(f"job/{n}"):
            inside.wait()
            inside.wait()

    threads = [threading.Thread(target=prepare, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    inside.wait()
    assert sorted(crumb.read()) == [f"job/{n}" for n in range(8)]
    inside.wait()
    for thread in threads:
        thread.join()
    assert crumb.read() == []


def test_loads_that_kill_are_counted_over_processes_and_forgotten_with_time(tmp_path: Path) -> None:
    file, now = tmp_path / "deaths.json", [1000.0]
    for _ in range(3):
        assert not LoadDeaths(file, lambda: now[0]).condemns("m")
        LoadDeaths(file, lambda: now[0]).record(["load:m", "job_1/1"])
    deaths = LoadDeaths(file, lambda: now[0])
    assert deaths.condemns("m")
    assert not deaths.suspects("other")
    now[0] += 3600
    assert not deaths.suspects("m")
    now[0] -= 3600
    deaths.forgive("m")
    assert not LoadDeaths(file, lambda: now[0]).suspects("m")
