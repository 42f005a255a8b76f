"""How many jobs of each queue may be in the process at once. Pure: no clock, no I/O, no log.

A gate that is below what is already here takes nothing back: those jobs run on.
"""

from __future__ import annotations

from collections.abc import Collection

from app.jobs.record import Lane
from app.scheduler.turns import too_large
from app.scheduler.world import Resident, World

__all__ = ["batch_slots", "gates"]

_SPARE_SLOTS = 4  # which batch work leaves to people who may come
_SPARE_PART = 4  # but no more than one in so many: of a model with four slots, batch work alone would otherwise get one


def gates(world: World, leaving: Collection[str], finishing: Collection[str]) -> dict[tuple[str, Lane], int]:
    """Return the gates, without those that are closed.

    Args:
        world: What they are for.
        leaving: Models that are drained or unloaded.
        finishing: Those of them that serve the rest of one batch before.
    """
    opened: dict[tuple[str, Lane], int] = {}
    for one in world.residents:
        rest = world.facts(one.model).slots - one.served if one.model in finishing else None
        if one.model not in leaving or rest is not None:
            opened[one.model, Lane.INTERACTIVE] = _interactive_gate(world, one, rest)
            opened[one.model, Lane.BATCH] = _batch_gate(world, one, rest)
    here = world.here
    for model in set(world.models) | set(world.backlogs):
        if model not in here and (model not in world.models or too_large(world, model)):
            # Claimed, its jobs fail with the numbers; left in the queue they would wait for ever.
            opened.update({(model, lane): 1 for lane in Lane})
    return {queue: gate for queue, gate in opened.items() if gate > 0}


def batch_slots(slots: int) -> int:
    """Return how many of a model's slots batch work may take while nobody waits."""
    return max(1, slots - min(_SPARE_SLOTS, slots // _SPARE_PART))


def _interactive_gate(world: World, resident: Resident, rest: int | None) -> int:
    slots = max(1, world.facts(resident.model).slots)
    return slots if rest is None else min(slots, resident.interactive_leases + rest)


def _batch_gate(world: World, resident: Resident, rest: int | None) -> int:
    if world.batch_waits:
        return 0
    backlog = world.backlog(resident.model)
    slots = max(1, world.facts(resident.model).slots)
    gate = min(batch_slots(slots), slots - resident.interactive_leases - backlog.asked)
    if rest is not None:
        return min(gate, resident.batch_leases + rest - backlog.asked)
    late = backlog.batch.count > 0 and world.overdue(Lane.BATCH, backlog.batch.head_at)
    return max(gate, 1 if late else 0)
