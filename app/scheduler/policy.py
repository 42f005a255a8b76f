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

from app.scheduler.course import Course, follow
from app.scheduler.eviction import excess
from app.scheduler.gates import gates
from app.scheduler.instants import due, next_instant, returns_at
from app.scheduler.plans import Plan
from app.scheduler.reasons import explain
from app.scheduler.turns import claims, too_large
from app.scheduler.world import World

__all__ = ["plan"]


def plan(world: World) -> Plan:
    """Return what to do now. Never raises, and does not depend on the order of what it is given."""
    if not world.admission:
        gone = tuple(sorted(_expired(world)))
        return Plan({}, unload=gone, leaving=gone, reasons=explain(world, Course()), wake_at=next_instant(world, ()))
    wanted = claims(world)
    course = follow(world, wanted)
    if not wanted:
        course.load = _missing(world)
    unload = _departures(world, course) if course.load is None else set()
    leaving = (unload | course.victims) - {world.loading}
    return Plan(
        gates=gates(world, leaving, course.making_room.finishing if course.making_room else ()),
        load=course.load,
        unload=tuple(sorted(unload)),
        leaving=tuple(sorted(leaving)),
        reasons=explain(world, course),
        wake_at=next_instant(world, wanted),
    )


def _departures(world: World, course: Course) -> set[str]:
    """Return who is unloaded."""
    unload = _expired(world) | {one.model for one in excess(world)}
    return unload | course.victims if course.making_room and course.making_room.drained else unload


def _expired(world: World) -> set[str]:
    return {one.model for one in world.residents if due(world, one)}


def _missing(world: World) -> str | None:
    """Return a model that should always be here, was not here just now, and fits beside what is and beside a request to each of these."""
    here = world.here
    room_bytes = world.room_bytes - sum(max(0, world.facts(one.model).need_bytes - one.bytes) for one in world.residents)
    absent = [model for model in world.models if returns_at(world, model) <= world.now and model not in here]
    fitting = [model for model in absent if world.facts(model).need_bytes <= room_bytes and not world.blocked(model)]
    fitting = [model for model in fitting if not too_large(world, model)]
    return min(fitting, default=None) if world.loading is None else None
