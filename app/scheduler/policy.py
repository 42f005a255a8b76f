"""The scheduling policy: from a :class:`World` to a :class:`Plan`. Pure: no clock, no I/O, no log.

It promises, for every world: never more bytes than the budget, one load at a
time; a model with leases is not unloaded; a model that was loaded serves one
batch before it must go; work of resident models goes first, up to a bound on
anyone's wait; what can never fit is let through to fail with numbers, and all
else is served in the end. docs/scheduler.md tells the rules in prose.

The policy keeps nothing between two plans. So a lost plan does no harm, and
one that is carried out late only has to be checked against leases.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from app.jobs.record import Lane
from app.scheduler.eviction import Eviction, choose, excess
from app.scheduler.gates import gates
from app.scheduler.instants import due, next_instant
from app.scheduler.plans import Plan
from app.scheduler.reasons import Turn, explain
from app.scheduler.turns import Claim, claims, too_large
from app.scheduler.world import World

__all__ = ["plan"]


@dataclass(slots=True)
class _Course:
    """What following the claims, most urgent first, has come to."""

    room_bytes: int  # what the claims that follow may still take
    load: str | None = None
    turn: Turn | None = None
    collected: bool = False  # a claim has its victims, or is overdue and waits for some: nobody else may choose any
    people_wait: bool = False  # an interactive claim waits for memory: batch work takes none meanwhile
    evictions: dict[str, Eviction | None] = field(default_factory=dict)  # of the claims that do not fit


def plan(world: World) -> Plan:
    """Return what to do now. Never raises, and does not depend on the order of what it is given."""
    expired = {one.model for one in world.residents if due(world, one)}
    if not world.admission:
        gone = tuple(sorted(expired))
        return Plan({}, unload=gone, leaving=gone, reasons=explain(world, None), wake_at=next_instant(world, ()))
    wanted = claims(world)
    course = _follow(world, wanted)
    load = course.load if wanted else _missing(world)
    unload = _departures(world, course.turn, expired) if load is None else set()
    leaving = (unload | set(course.turn.victims if course.turn else ())) - {world.loading}
    return Plan(
        gates=gates(world, leaving, course.turn.eviction.finishing if course.turn else ()),
        load=load,
        unload=tuple(sorted(unload)),
        leaving=tuple(sorted(leaving)),
        reasons=explain(world, load, course.turn, course.evictions),
        wake_at=next_instant(world, wanted),
    )


def _departures(world: World, turn: Turn | None, expired: Iterable[str]) -> set[str]:
    """Return who is unloaded."""
    unload = {*expired, *(one.model for one in excess(world))}
    return unload | set(turn.victims) if turn and turn.eviction.drained else unload


def _follow(world: World, wanted: Iterable[Claim]) -> _Course:
    course = _Course(world.free_bytes)
    for claim in wanted:
        held_back = course.people_wait and claim.lane is Lane.BATCH and not claim.overdue
        if held_back:
            continue
        if claim.need_bytes <= course.room_bytes:
            course.room_bytes -= claim.need_bytes
            if not claim.grows and world.loading is None and course.load is None:
                course.load = claim.model
        elif not course.collected:
            _collect(world, claim, course)
    return course


def _collect(world: World, claim: Claim, course: _Course) -> None:
    """Find room for a claim that does not fit, and keep later claims from taking the bytes that it collects."""
    coming_bytes = sum(world.leaving.values())
    lack_bytes = claim.need_bytes - course.room_bytes - coming_bytes
    eviction = choose(world, claim, lack_bytes) if lack_bytes > 0 else Eviction()
    course.evictions[claim.model] = eviction
    if eviction is None and not claim.overdue:
        course.people_wait |= claim.lane is Lane.INTERACTIVE
        return  # those who hold the memory are at work, and may go on; others may use what is free
    course.collected = True
    if eviction is None:
        course.room_bytes = -1  # it has waited long enough that nothing may come before it
        return
    course.room_bytes = min(course.room_bytes, course.room_bytes + coming_bytes + eviction.freed_bytes - claim.need_bytes)
    if eviction.victims and world.now >= eviction.ready_at:
        course.turn = Turn(claim.model, claim.overdue, eviction)


def _missing(world: World) -> str | None:
    """Return a model that should always be here, is not, and fits beside what is."""
    here = world.here
    absent = [model for model, facts in world.models.items() if facts.residency == "always" and model not in here]
    fitting = [model for model in absent if world.facts(model).need_bytes <= world.free_bytes and not world.blocked(model)]
    fitting = [model for model in fitting if not too_large(world, model)]
    return min(fitting, default=None) if world.loading is None else None
