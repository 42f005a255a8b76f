"""Three workers of three homes in one trouble after another, in an order drawn at random: nothing is lost, and nothing happens twice."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from app.jobs.gateway import JobGateway
from app.jobs.record import JobState
from app.jobs.store import JobStore
from app.settings import Settings
from tests.integration.load_history import Absence, doubled_loads, history
from tests.integration.machines import Machine, eventually, lapse
from tests.integration.test_three_workers import assert_each_done_once, jobs_of, machines, texts_of

__all__ = ["machines"]

_TROUBLES = 12
_JOBS = 1500
_REQUESTS = (b"publish", b"claim", b"commit", b"claim_load", b"announced", b"fetch", b"ack")  # of our scripts, and of Dramatiq's


class Fate:
    """Draws what happens to whom, and does it."""

    def __init__(self, seed: int, store: JobStore, machines: list[Machine]) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - an order that is the same every time
        self._store = store
        self._machines = machines
        self.absences: list[Absence] = []

    def strike(self) -> None:
        """Bring one trouble upon one worker, and see it out."""
        trouble = self._rng.choice([self.kill, self.pause, self.silence, self.break_off, self.lose_answers])
        machine = self._rng.choice(self._machines)
        print(f"{self._store.now():.2f} {trouble.__name__} {machine.name}")  # noqa: T201 - shown where the test fails
        trouble(machine)

    def kill(self, machine: Machine) -> None:
        """Kill it; it is started again."""
        before, killed_at = machine.worker.starts, self._store.now()
        said = machine.presence(self._store)
        machine.worker.kill()
        eventually(lambda: machine.worker.starts > before, f"{machine.name} is started again")
        eventually(lambda: (now := machine.presence(self._store)) and now.id != (said and said.id), f"{machine.name} is back")
        self.absences.append(Absence(machine.name, killed_at, self._store.now()))

    def pause(self, machine: Machine) -> None:
        """Hold back what it says for a moment in which others go on; nobody takes it for dead."""
        machine.way.hold()
        self._progress()
        machine.way.mend()

    def silence(self, machine: Machine) -> None:
        """Hold back what it says until it is taken for dead."""
        machine.way.hold()
        self._be_forgotten(machine)

    def break_off(self, machine: Machine) -> None:
        """Break its connections, and every new one, until it is taken for dead."""
        machine.way.cut()
        self._be_forgotten(machine)

    def lose_answers(self, machine: Machine) -> None:
        """Break its connections before the answers to one kind of request arrive."""
        machine.way.deaf_to = b"\r\n%s\r\n" % self._rng.choice(_REQUESTS)
        self._progress()
        machine.way.cut()
        machine.way.mend()

    def _be_forgotten(self, machine: Machine) -> None:
        silent_at = self._store.now()
        lapse(self._store, machine)
        eventually(lambda: not machine.held(self._store), f"what {machine.name} held is taken back")
        self._progress()
        machine.way.mend()
        eventually(lambda: machine.presence(self._store), f"{machine.name} is back")
        self.absences.append(Absence(machine.name, silent_at, self._store.now()))

    def _progress(self) -> None:
        """Wait until something was done, if there is something to do."""
        before = self._store.count_by_state()
        enough = min(10, before[JobState.QUEUED])
        give_up = time.monotonic() + 10  # all that is left may be the silent one's
        eventually(
            lambda: time.monotonic() > give_up or self._store.count_by_state()[JobState.SUCCEEDED] >= before[JobState.SUCCEEDED] + enough,
            "others work",
        )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_troubles_cost_no_job_and_no_stream(settings: Settings, store: JobStore, machines: list[Machine], seed: int) -> None:
    jobs = jobs_of(range(_JOBS))
    fate = Fate(seed, store, machines)

    async def scenario() -> list[str]:
        gateway = await JobGateway.open(settings)
        try:
            following: list[asyncio.Task[list[str]]] = []
            part = _JOBS // _TROUBLES
            for number in range(_TROUBLES):
                new = jobs[number * part : (number + 1) * part]
                await asyncio.gather(*map(gateway.submit, new))
                following.append(asyncio.create_task(texts_of(gateway, new)))
                await asyncio.to_thread(fate.strike)
            return [text for task in following for text in await task]
        finally:
            await gateway.close()

    assert_each_done_once(store, jobs, asyncio.run(scenario()))
    told, _ = history(store, {machine.home_id: machine.name for machine in machines})
    assert doubled_loads(told, fate.absences) == []  # a job that a kill has made a suspect waits in the worker that claimed it
