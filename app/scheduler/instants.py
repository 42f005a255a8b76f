"""Moments at which time alone changes a plan. Pure: they are computed from a world, never waited for.

Each is computed by the same expression as the rule that it belongs to, so
that a plan which was made at such a moment sees it as reached.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.jobs.record import Lane
from app.scheduler.eviction import linger_until
from app.scheduler.turns import Claim
from app.scheduler.world import Resident, World

__all__ = ["PRESSURE_IDLE_S", "due", "next_instant", "returns_at"]

# While the machine is short of memory an idle model goes after this: long enough that a running
# conversation keeps its model, short enough to be of help.
PRESSURE_IDLE_S = 5.0
# How many times as long as its load an `always` model stays away before it comes back unasked: a model that
# leaves again and again takes no more than a tenth of the time for that.
_AWAY_LOADS = 10


def due(world: World, resident: Resident) -> bool:
    """Whether an on-demand model was idle for as long as it may be."""
    if not world.idle(resident) or world.pinned(resident) or world.facts(resident.model).residency == "always":
        return False
    return world.now >= _leaves_at(world, resident)


def returns_at(world: World, model: str) -> float:
    """Return the epoch s from which a model that is not here may be loaded unasked; inf: it must not."""
    facts = world.facts(model)
    return facts.last_turn_at + _AWAY_LOADS * facts.load_s if facts.residency == "always" else math.inf


def next_instant(world: World, wanted: Sequence[Claim]) -> float | None:
    """Return the earliest later epoch s at which a plan for the same world and its claims may differ, or None."""
    later = [instant for instant in _instants(world, wanted) if world.now < instant < math.inf]
    return min(later, default=None)


def _leaves_at(world: World, resident: Resident) -> float:
    ttl_s = world.facts(resident.model).idle_ttl_s
    return resident.idle_since + (ttl_s if world.admission else min(ttl_s, PRESSURE_IDLE_S))


def _instants(world: World, wanted: Sequence[Claim]) -> list[float]:
    found = [claim.patient_until for claim in wanted if claim.lane is Lane.INTERACTIVE]
    for one in world.residents:
        if one.pinned_until is not None:
            found.append(one.pinned_until)
        if one.wanted_bytes:
            found.append(world.overdue_at(Lane.INTERACTIVE, one.wanted_at))
        if world.idle(one):
            found.append(_leaves_at(world, one))
            found += [linger_until(world, one, lane) for lane in Lane if wanted]
    for backlog in world.backlogs.values():
        found += [world.overdue_at(lane, line.head_at) for lane, line in backlog.lines]
    found += [returns_at(world, model) for model in world.models if model not in world.here]
    blocks = [facts.blocked for facts in world.models.values() if facts.blocked is not None]
    return found + [block.until for block in blocks if block.until is not None]
