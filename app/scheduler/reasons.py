"""Why the work of each model waits: a word for programs, and the facts for a sentence. Pure, and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.scheduler.eviction import Eviction
from app.scheduler.plans import Reason, Why
from app.scheduler.turns import too_large
from app.scheduler.world import World

__all__ = ["Turn", "explain"]


@dataclass(frozen=True, slots=True)
class Turn:
    """The claim for which residents are being made to leave."""

    model: str
    overdue: bool
    eviction: Eviction

    @property
    def victims(self) -> tuple[str, ...]:
        """Who leaves."""
        return tuple(sorted(one.model for one in self.eviction.victims))


def explain(
    world: World, load: str | None, turn: Turn | None = None, evictions: Mapping[str, Eviction | None] | None = None
) -> dict[str, Reason]:
    """Return a reason for each model for which something waits.

    Args:
        world: What the plan was made for.
        load: The model that the plan loads.
        turn: The claim for which the plan closes gates.
        evictions: For each claim that does not fit: who would have to leave, None while they may not.
    """
    growing = {one.model for one in world.residents if one.wanted_bytes}
    waiting = sorted({model for model, backlog in world.backlogs.items() if not backlog.empty} | growing)
    return {model: _reason(world, model, load, turn, evictions or {}) for model in waiting}


def _reason(world: World, model: str, load: str | None, turn: Turn | None, evictions: Mapping[str, Eviction | None]) -> Reason:
    here = next((one for one in world.residents if one.model == model), None)
    if not world.admission:
        return Reason(Why.MEMORY_PRESSURE)
    if model in (load, world.loading):
        return Reason(Why.MODEL_LOADING)
    if turn is not None and model in turn.victims:
        return Reason(Why.OVERDUE_TURN if turn.overdue else Why.WAITS_FOR_MEMORY, holders=(turn.model,))
    if here is not None and not here.wanted_bytes:
        return Reason(Why.QUEUE)
    if here is None and model not in world.models:
        return Reason(Why.QUEUE)
    need_bytes = here.wanted_bytes if here else world.facts(model).need_bytes
    if here is None and too_large(world, model):
        return Reason(Why.MODEL_TOO_LARGE, need_bytes=need_bytes, budget_bytes=world.budget_bytes)
    if here is None and (block := world.blocked(model)) is not None:
        return Reason(block.reason, until=block.until)
    return _memory(world, model, need_bytes, load, turn, evictions)


def _memory(
    world: World, model: str, need_bytes: int, load: str | None, turn: Turn | None, evictions: Mapping[str, Eviction | None]
) -> Reason:
    if turn is not None and turn.overdue and turn.model != model:
        return Reason(Why.OVERDUE_TURN, need_bytes=need_bytes, holders=(turn.model,))
    first = load or world.loading
    if need_bytes <= world.free_bytes and first is not None:
        return Reason(Why.MODEL_LOADING, holders=(first,))
    eviction = evictions.get(model)
    leave = world.residents if eviction is None else eviction.victims
    holders = [one for one in leave if one.model != model]
    pinned = [one for one in holders if world.pinned(one)]
    return Reason(
        Why.WAITS_FOR_MEMORY,
        need_bytes=need_bytes,
        free_bytes=max(0, world.free_bytes),
        budget_bytes=world.budget_bytes,
        holders=tuple(sorted(one.model for one in holders)),
        pinned=tuple(sorted(one.model for one in pinned)),
        until=max((one.pinned_until for one in pinned if one.pinned_until is not None), default=None),
    )
