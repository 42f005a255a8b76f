"""What comes of the claims on memory, followed from the most urgent one down. Pure: no clock, no I/O, no log.

What fits is loaded. The first claim that does not fit and has residents who
may leave for it collects their bytes: the claims after it may take what it
leaves over, and nothing else. An overdue claim lets nothing pass even where
nobody may leave for it yet. While people wait for memory that those at work
need not give yet, other people may use what is free, and batch work may not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from app.jobs.record import Lane
from app.scheduler.eviction import Eviction, choose
from app.scheduler.turns import Claim
from app.scheduler.world import World

__all__ = ["Course", "follow"]


@dataclass(slots=True)
class Course:
    """How far the claims were followed."""

    room_bytes: int = 0  # what the claims that follow may still take
    load: str | None = None
    first: Claim | None = None  # the claim that collects, or for which people wait: others come after it
    people_wait: bool = False  # for residents at work that need not leave for them
    collected: bool = False  # nobody else may choose who leaves
    making_room: Eviction | None = None  # for the first claim, from now on
    evictions: dict[str, Eviction | None] = field(default_factory=dict)  # of the claims that do not fit

    @property
    def victims(self) -> frozenset[str]:
        """Who is being made to leave."""
        return frozenset(one.model for one in self.making_room.victims) if self.making_room else frozenset()


def follow(world: World, wanted: Iterable[Claim]) -> Course:
    """Return what comes of the claims *wanted*, the most urgent first."""
    course = Course(world.room_bytes)
    for claim in wanted:
        if course.people_wait and claim.lane is Lane.BATCH and not claim.overdue:
            continue
        if claim.need_bytes <= course.room_bytes:
            course.room_bytes -= claim.need_bytes
            if not claim.grows and world.loading is None and course.load is None:
                course.load = claim.model
        elif not course.collected:
            _collect(world, claim, course)
    return course


def _collect(world: World, claim: Claim, course: Course) -> None:
    coming_bytes = sum(world.leaving.values())
    lack_bytes = claim.need_bytes - course.room_bytes - coming_bytes
    eviction = choose(world, claim, lack_bytes) if lack_bytes > 0 else Eviction()
    course.evictions[claim.model] = eviction
    if eviction is None and not claim.overdue:
        if claim.lane is Lane.INTERACTIVE:
            course.first, course.people_wait = course.first or claim, True
        return
    course.first, course.collected = claim, True
    if eviction is None:
        course.room_bytes = -1
        return
    course.room_bytes = min(course.room_bytes, course.room_bytes + coming_bytes + eviction.freed_bytes - claim.need_bytes)
    if eviction.victims and world.now >= eviction.ready_at:
        course.making_room = eviction
