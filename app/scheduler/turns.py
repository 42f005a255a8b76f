"""Who is next for memory. Pure: no clock, no I/O, no log.

Work that has begun comes before work that has not: a resident whose engine
lacks KV claims first. Then models that are not resident: overdue heads, then
interactive ones, then batch, each by the age of its head.

Among overdue models the age counts from the later of the head's arrival and
the model's last turn. With the head's alone, two models with old backlogs
would take turns for ever while a third one, overdue with a younger head,
looked on; so each of the others gets one batch before it, and no second.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.jobs.record import Lane
from app.scheduler.world import World

__all__ = ["PATIENCE_S", "Claim", "claims", "crowded_out", "too_large"]

# How long interactive work waits for a busy model's pause to last, before any pause will do. Less makes
# models that are asked in turns change places at every pause; more is felt. See docs/scheduler.md.
PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A wish for memory."""

    model: str
    need_bytes: int
    lane: Lane
    overdue: bool
    since: float  # epoch s from which its wait counts
    patient_until: float  # epoch s
    grows: bool = False  # a resident that wants KV, not a model that wants to be loaded

    def total_bytes(self, world: World) -> int:
        """Return what the model would hold with it."""
        return self.need_bytes + sum(one.bytes for one in world.residents if self.grows and one.model == self.model)


def too_large(world: World, model: str) -> bool:
    """Whether *model* does not fit even when it is alone."""
    return model in world.models and world.models[model].need_bytes > world.budget_bytes


def crowded_out(world: World, model: str) -> bool:
    """Whether *model* would not fit now even if it were alone, because of what other programs have. That may pass."""
    return world.facts(model).need_bytes > world.budget_bytes - world.taken_bytes


def claims(world: World) -> list[Claim]:
    """Return the claims of work, most urgent first. What is blocked, crowded out or can never fit claims nothing."""
    growing = [claim for claim in _growing(world) if claim.total_bytes(world) <= world.budget_bytes]
    here = world.here
    absent = [model for model in world.backlogs if model in world.models and model not in here]
    loads = [_load(world, model) for model in absent if not world.backlog(model).empty]
    stuck = {
        claim.model for claim in loads if world.blocked(claim.model) or crowded_out(world, claim.model) or too_large(world, claim.model)
    }
    wanted = [claim for claim in loads if claim.model not in stuck]
    return sorted(growing, key=_order) + sorted(wanted, key=_order)


def _order(claim: Claim) -> tuple[bool, bool, float, str]:
    return not claim.overdue, not claim.overdue and claim.lane is Lane.BATCH, claim.since, claim.model


def _growing(world: World) -> list[Claim]:
    return [
        Claim(
            one.model,
            one.wanted_bytes,
            Lane.INTERACTIVE,
            overdue=world.overdue(Lane.INTERACTIVE, one.wanted_at),
            since=world.since(one.wanted_at),
            patient_until=world.since(one.wanted_at) + PATIENCE_S,
            grows=True,
        )
        for one in world.residents
        if one.wanted_bytes > 0
    ]


def _load(world: World, model: str) -> Claim:
    facts, lines = world.facts(model), world.backlog(model).lines
    late = [(lane, line) for lane, line in lines if world.overdue(lane, line.head_at)]
    asked = [(lane, line) for lane, line in lines if lane is Lane.INTERACTIVE]
    heads = late or asked or lines
    since = min(world.since(line.head_at) for _, line in heads)
    return Claim(
        model,
        facts.need_bytes,
        Lane.INTERACTIVE if asked else Lane.BATCH,
        overdue=bool(late),
        since=max(since, facts.last_turn_at) if late else since,
        patient_until=since + max(PATIENCE_S, facts.load_s),
    )
