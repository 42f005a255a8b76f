"""A machine in virtual time: models come and go, and jobs of resident models share one GPU. It refuses what would break a real one.

What is modelled: a load takes its time and holds its bytes from its first
moment; an unload frees nothing until it is over; an engine runs as many jobs
as it has slots, in the order in which they were leased. With n jobs in its
batch each goes at 1 / (1 + batch_cost x (n - 1)) of its speed alone, and
models with work share the GPU equally. Not modelled: prefill, KV of different
sizes, loads that slow answers, decisions that take time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from app.jobs.record import Lane

__all__ = ["Arrival", "Dispatcher", "Impossible", "Job", "Machine", "SimModel", "Stay", "Trace", "replay"]

_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class SimModel:
    """A model as the machine knows it."""

    bytes: int
    load_s: float
    slots: int = 16
    batch_cost: float = 0.25
    residency: Literal["always", "on-demand"] = "on-demand"
    idle_ttl_s: float = 600.0
    unload_s: float = 0.05


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job that is to come."""

    at: float  # virtual s; for one that follows a group: seconds after the group's last job ended
    model: str
    work_s: float  # alone on the GPU
    lane: Lane = Lane.INTERACTIVE
    group: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """Jobs, and the machine that they come to."""

    name: str
    models: Mapping[str, SimModel]
    budget_bytes: int
    arrivals: Sequence[Arrival]
    followers: Mapping[str, Sequence[Arrival]] = field(default_factory=dict)  # by the group after which they come
    max_wait_s: float = 60.0
    batch_max_wait_s: float = 1800.0


@dataclass(slots=True)
class Job:
    """A job that has come."""

    number: int
    arrival: Arrival
    came_at: float
    left_s: float  # work that is not done
    leased_at: float = math.inf
    started_at: float = math.inf  # had a slot
    ended_at: float = math.inf
    refused: bool = False

    @property
    def wait_s(self) -> float:
        """From its arrival until it had a slot."""
        return self.started_at - self.came_at


@dataclass(slots=True)
class Stay:
    """A model's time in memory."""

    model: str
    load_at: float
    loaded_at: float
    unload_at: float = math.inf
    gone_at: float = math.inf
    last_used: float = 0.0
    served: int = 0
    leased: list[Job] = field(default_factory=list)

    def usable(self, now: float) -> bool:
        """Whether its engine takes jobs."""
        return self.loaded_at <= now < self.unload_at


class Impossible(Exception):
    """A dispatcher asked for what would break a real machine."""


class Dispatcher(Protocol):
    """A way to share the machine."""

    def dispatch(self, machine: Machine) -> float | None:
        """Lease, load and unload as of now. Return the virtual s at which to be asked even if nothing has happened."""


class Machine:
    """The state of one replay.

    Raises:
        Impossible: A dispatcher promised memory twice, unloaded under a lease, or ran a job without its model.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.now = 0.0
        self.queued: list[Job] = []
        self.jobs: list[Job] = []
        self.stays: list[Stay] = []
        self.present: dict[str, Stay] = {}

    @property
    def free_bytes(self) -> int:
        """Bytes that no model holds."""
        return self.trace.budget_bytes - sum(self.trace.models[name].bytes for name in self.present)

    @property
    def loading(self) -> str | None:
        """The model that is being loaded."""
        return next((name for name, stay in self.present.items() if stay.loaded_at > self.now), None)

    def come(self, arrival: Arrival) -> None:
        """Queue a job."""
        job = Job(len(self.jobs), arrival, self.now, arrival.work_s)
        self.jobs.append(job)
        self.queued.append(job)

    def load(self, model: str) -> None:
        """Begin to load a model."""
        facts = self.trace.models[model]
        _insist(self.loading is None, "two loads at once")
        _insist(model not in self.present, "loaded twice")
        _insist(facts.bytes <= self.free_bytes, "memory promised twice")
        self.present[model] = Stay(model, self.now, self.now + facts.load_s, last_used=self.now + facts.load_s)
        self.stays.append(self.present[model])

    def unload(self, model: str) -> None:
        """Begin to let a model go."""
        stay = self.present[model]
        _insist(stay.usable(self.now), "unloaded while it was not there")
        _insist(not stay.leased, "unloaded under a lease")
        stay.unload_at = self.now
        stay.gone_at = self.now + self.trace.models[model].unload_s

    def lease(self, job: Job) -> None:
        """Hand a queued job to its model's engine."""
        stay = self.present[job.arrival.model]
        _insist(stay.usable(self.now), "leased without its model")
        self.queued.remove(job)
        job.leased_at = self.now
        stay.leased.append(job)
        stay.served += 1
        self.start()

    def refuse(self, job: Job) -> None:
        """End a job whose model can never fit."""
        _insist(self.trace.models[job.arrival.model].bytes > self.trace.budget_bytes, "refused without need")
        self.queued.remove(job)
        job.refused = True
        job.started_at = job.ended_at = self.now

    def start(self) -> None:
        """Give slots to those who are next in their engine's line."""
        for job in self._running():
            job.started_at = min(job.started_at, self.now)

    def next_event(self) -> float:
        """Return the virtual s of the next end of a job, a load or an unload."""
        ends = [self.now + job.left_s / speed for job, speed in self._speeds()]
        moves = [at for stay in self.present.values() for at in (stay.loaded_at, stay.gone_at) if at > self.now]
        return min([*ends, *moves], default=math.inf)

    def advance(self, until: float) -> list[Job]:
        """Let time go by, no further than the next event; return the jobs that ended."""
        for job, speed in self._speeds():
            job.left_s -= (until - self.now) * speed
        self.now = until
        ended = [job for job in self._running() if job.left_s <= _EPSILON]
        for job in ended:
            job.ended_at = self.now
            job.left_s = 0.0
            stay = self.present[job.arrival.model]
            stay.leased.remove(job)
            stay.last_used = self.now
        self.present = {name: stay for name, stay in self.present.items() if stay.gone_at > self.now}
        self.start()
        return ended

    def _running(self) -> list[Job]:
        return [job for name, stay in self.present.items() for job in stay.leased[: self.trace.models[name].slots]]

    def _speeds(self) -> Iterable[tuple[Job, float]]:
        busy = [stay for stay in self.present.values() if stay.leased]
        for stay in busy:
            model = self.trace.models[stay.model]
            running = stay.leased[: model.slots]
            speed = 1 / len(busy) / (1 + model.batch_cost * (len(running) - 1))
            yield from ((job, speed) for job in running)


def replay(trace: Trace, dispatcher: Dispatcher) -> Machine:
    """Let a trace come to the machine, and return it when all that came has ended or nothing more happens."""
    machine = Machine(trace)
    coming = sorted(trace.arrivals, key=lambda arrival: arrival.at)
    left = {group: sum(arrival.group == group for arrival in trace.arrivals) for group in trace.followers}
    while True:
        while coming and coming[0].at <= machine.now:
            machine.come(coming.pop(0))
        wake_at = dispatcher.dispatch(machine)
        until = min(machine.next_event(), coming[0].at if coming else math.inf, math.inf if wake_at is None else wake_at)
        idle = not coming and all(job.ended_at < math.inf for job in machine.jobs)
        if idle or until == math.inf:
            return machine
        for job in machine.advance(until):
            group = job.arrival.group
            if group in left and (left := {**left, group: left[group] - 1})[group] == 0:
                coming = sorted([*coming, *_following(trace.followers[group], machine.now)], key=lambda arrival: arrival.at)


def _insist(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as the sentence it is
    if not holds:
        raise Impossible(otherwise)


def _following(arrivals: Iterable[Arrival], after: float) -> list[Arrival]:
    return [Arrival(after + one.at, one.model, one.work_s, one.lane, one.group) for one in arrivals]
