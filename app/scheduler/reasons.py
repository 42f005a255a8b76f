"""Why the work of each model waits: a word for programs, and the facts for a sentence. Pure, and decides nothing."""

from __future__ import annotations

import math

from app.scheduler.course import Course
from app.scheduler.plans import Reason, Why
from app.scheduler.turns import crowded_out, too_large
from app.scheduler.world import Resident, World

__all__ = ["explain"]


def explain(world: World, course: Course) -> dict[str, Reason]:
    """Return a reason for each model for which something waits, given what came of the claims."""
    growing = {one.model for one in world.residents if one.wanted_bytes}
    waiting = sorted({model for model, backlog in world.backlogs.items() if not backlog.empty} | growing)
    return {model: _reason(world, model, course) for model in waiting}


def _reason(world: World, model: str, course: Course) -> Reason:
    if not world.admission:
        return Reason(Why.MEMORY_PRESSURE)
    if model in (course.load, world.loading):
        return Reason(Why.MODEL_LOADING)
    here = next((one for one in world.residents if one.model == model), None)
    if here is not None:
        return _of_resident(world, here, course)
    return _of_absent(world, model, course) if model in world.models else Reason(Why.QUEUE)


def _of_resident(world: World, here: Resident, course: Course) -> Reason:
    if course.first is not None and here.model in course.victims:
        return Reason(Why.OVERDUE_TURN if course.first.overdue else Why.WAITS_FOR_MEMORY, holders=(course.first.model,))
    if here.wanted_bytes:
        return _memory(world, here.model, here.wanted_bytes, course)
    return Reason(world.batch_waits if world.backlog(here.model).empty else Why.QUEUE)


def _of_absent(world: World, model: str, course: Course) -> Reason:
    need_bytes = world.facts(model).need_bytes
    if too_large(world, model):
        return Reason(Why.MODEL_TOO_LARGE, need_bytes=need_bytes, budget_bytes=world.budget_bytes)
    if world.backlog(model).empty:  # of what may begin
        return Reason(world.batch_waits)
    if (block := world.blocked(model)) is not None:
        return Reason(block.reason, until=block.until)
    if crowded_out(world, model):
        return Reason(Why.MEMORY_PRESSURE, need_bytes, max(0, world.budget_bytes - world.taken_bytes), world.budget_bytes)
    return _memory(world, model, need_bytes, course)


def _memory(world: World, model: str, need_bytes: int, course: Course) -> Reason:
    first, loading = course.first, course.load or world.loading
    behind = first is not None and first.model != model
    if first is not None and behind and first.overdue:
        return Reason(Why.OVERDUE_TURN, need_bytes=need_bytes, holders=(first.model,))
    if need_bytes <= world.room_bytes and loading is not None:
        return Reason(Why.MODEL_LOADING, holders=(loading,))
    facts = (need_bytes, max(0, world.room_bytes), world.budget_bytes)
    if first is not None and behind and model not in course.evictions:
        return Reason(Why.WAITS_FOR_MEMORY, *facts, holders=(first.model,))
    eviction = course.evictions.get(model)
    holders = [one for one in (world.residents if eviction is None else eviction.victims) if one.model != model]
    pins = {one.model: one.pinned_until for one in holders if one.pinned_until is not None and world.pinned(one)}
    return Reason(
        Why.WAITS_FOR_MEMORY,
        *facts,
        holders=tuple(sorted({one.model for one in holders})),
        pinned=tuple(sorted(pins)),
        until=max((until for until in pins.values() if until < math.inf), default=None),
    )
