"""Ways to share the machine: production's own policy, and what other servers do."""

from __future__ import annotations

from collections import Counter

from app.jobs.record import Lane
from app.scheduler.plans import Plan
from app.scheduler.policy import plan
from app.scheduler.world import Backlog, Line, ModelFacts, Resident, World
from bench.simulation.machine import Job, Machine, Stay

__all__ = ["Fifo", "Lru", "Policy"]


class Policy:
    """Production's policy object, asked after every event and obeyed at once."""

    def __init__(self) -> None:
        self.last_turn: dict[str, float] = {}

    def dispatch(self, machine: Machine) -> float | None:
        """Carry out plans until one changes nothing."""
        while True:
            decided = plan(self.world(machine))
            if not self._carry_out(machine, decided):
                return decided.wake_at

    def world(self, machine: Machine) -> World:
        """Return what the policy is told."""
        trace, here = machine.trace, [stay for stay in machine.present.values() if stay.usable(machine.now)]
        facts = {
            name: ModelFacts(one.bytes, one.residency, one.idle_ttl_s, one.slots, one.load_s, last_turn_at=self.last_turn.get(name, 0.0))
            for name, one in trace.models.items()
        }
        return World(
            models=facts,
            budget_bytes=trace.budget_bytes,
            now=machine.now,
            residents=[_resident(machine, stay) for stay in here],
            backlogs=_backlogs(machine),
            loading=machine.loading,
            leaving={stay.model: trace.models[stay.model].bytes for stay in _leaving(machine)},
            max_wait_s=trace.max_wait_s,
            batch_max_wait_s=trace.batch_max_wait_s,
        )

    def _carry_out(self, machine: Machine, decided: Plan) -> bool:
        moved = _fetch(machine, decided)
        for model in decided.unload:
            if not machine.present[model].leased:
                machine.unload(model)
                self.last_turn[model] = machine.now
                moved = True
        if decided.load is not None:
            machine.load(decided.load)
            moved = True
        return moved


class Fifo:
    """One queue in strict order, one model at a time: the next job waits until its model is there, and all wait behind it."""

    def dispatch(self, machine: Machine) -> float | None:
        """Serve the head."""
        while machine.queued:
            job = machine.queued[0]
            stay = machine.present.get(job.arrival.model)
            if stay is None:
                self._make_way(machine, job)
                break
            if not stay.usable(machine.now) or len(stay.leased) >= machine.trace.models[stay.model].slots:
                break
            machine.lease(job)
        return None

    def _make_way(self, machine: Machine, job: Job) -> None:
        if not machine.present:
            machine.load(job.arrival.model)
        for model, stay in list(machine.present.items()):
            if stay.usable(machine.now) and not stay.leased:
                machine.unload(model)


class Lru:
    """A thread for each request: those whose model is there run, and the oldest of the others that can loads its own.

    Evicts the least recently used of those that no job holds. It does not look at what waits in the queue.
    """

    def dispatch(self, machine: Machine) -> float | None:
        """Serve all that can be served, in the order of arrival."""
        for job in list(machine.queued):
            stay = machine.present.get(job.arrival.model)
            if stay is None:
                self._make_room(machine, job.arrival.model)
            elif stay.usable(machine.now) and len(stay.leased) < machine.trace.models[stay.model].slots:
                machine.lease(job)
        return None

    def _make_room(self, machine: Machine, model: str) -> None:
        need = machine.trace.models[model].bytes
        if machine.loading is not None or any(_leaving(machine)):
            return
        if need <= machine.free_bytes:
            machine.load(model)
            return
        idle = sorted((stay for stay in machine.present.values() if not stay.leased), key=lambda stay: stay.last_used)
        if machine.free_bytes + sum(machine.trace.models[stay.model].bytes for stay in idle) < need:
            return
        free = machine.free_bytes
        for stay in idle:
            if free >= need:
                break
            machine.unload(stay.model)
            free += machine.trace.models[stay.model].bytes


def _leaving(machine: Machine) -> list[Stay]:
    return [stay for stay in machine.present.values() if stay.unload_at <= machine.now]


def _resident(machine: Machine, stay: Stay) -> Resident:
    lanes = Counter(job.arrival.lane for job in stay.leased)
    return Resident(
        stay.model,
        machine.trace.models[stay.model].bytes,
        interactive_leases=lanes[Lane.INTERACTIVE],
        batch_leases=lanes[Lane.BATCH],
        last_used=stay.last_used,
        loaded_at=stay.loaded_at,
        served=stay.served,
    )


def _backlogs(machine: Machine) -> dict[str, Backlog]:
    lines: dict[tuple[str, Lane], Line] = {}
    for job in machine.queued:  # in the order of arrival, so the first of a line is its head
        queue = job.arrival.model, job.arrival.lane
        line = lines.get(queue, Line(0, job.came_at))
        lines[queue] = Line(line.count + 1, line.head_at)
    models = {model for model, _ in lines}
    return {model: Backlog(*(lines.get((model, lane), Line()) for lane in (Lane.INTERACTIVE, Lane.BATCH))) for model in models}


def _fetch(machine: Machine, decided: Plan) -> bool:
    moved = False
    for lane in (Lane.INTERACTIVE, Lane.BATCH):
        for job in [job for job in machine.queued if job.arrival.lane is lane]:
            model = job.arrival.model
            gate = decided.gates.get((model, lane), 0)
            if model not in machine.present and gate:
                machine.refuse(job)
                moved = True
            elif gate > sum(other.arrival.lane is lane for other in _leased(machine, model)):
                machine.lease(job)
                moved = True
    return moved


def _leased(machine: Machine, model: str) -> list[Job]:
    return machine.present[model].leased if model in machine.present else []
