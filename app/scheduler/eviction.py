"""Who leaves so that a claim fits: smallest harm first, and no more than needed. Pure: no clock, no I/O, no log.

A victim with leases is drained by its gate; it is never unloaded under them.
One that was loaded and has not served a batch yet first finishes that batch,
and no more. Until all can go, none does: a part of the room helps nobody.

An idle model stays a moment for work that is not overdue, because the next
request for it may be on its way: short for people, and for batch work as long
as its return would cost, which is never worse than twice the best that
foresight could do (the ski rental problem).

A pin holds against everything but an overdue head that can never fit beside
what is pinned: that nothing waits for ever is the older promise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.jobs.record import Lane
from app.scheduler.turns import Claim
from app.scheduler.world import Resident, World

__all__ = ["LINGER_S", "Eviction", "choose", "excess", "linger_until"]

# How long a model without work keeps its place against a claim that is not overdue. Longer than the pause
# between an answer and the next question of a program, shorter than people notice. See docs/scheduler.md.
LINGER_S = 0.5

_IDLE, _ALWAYS, _BATCH, _BUSY, _PINNED = range(5)


@dataclass(frozen=True, slots=True)
class Eviction:
    """Residents that together make room, and when they may be asked to."""

    victims: tuple[Resident, ...] = ()
    finishing: frozenset[str] = frozenset()  # those that have not served their batch
    ready_at: float = 0.0  # epoch s

    @property
    def freed_bytes(self) -> int:
        """What they hold."""
        return sum(one.bytes for one in self.victims)

    @property
    def drained(self) -> bool:
        """Whether all of them can go."""
        return not self.finishing and not any(one.leases for one in self.victims)


def choose(world: World, claim: Claim, lack_bytes: int) -> Eviction | None:
    """Return who leaves for *claim*, or None while those who may leave would not make room."""
    others = [one for one in (*world.residents, *_arriving(world)) if one.model != claim.model]
    pinned_bytes = sum(one.bytes for one in others if world.pinned(one))
    pins_yield = claim.overdue and claim.total_bytes(world) + pinned_bytes > world.budget_bytes
    harms = [(harm, one) for one in others if (harm := _harm(world, claim, one, pins_yield=pins_yield)) is not None]
    served = {one.model for one in world.residents if world.had_its_turn(one) or _stuck(world, claim, one)}
    finishing = frozenset(one.model for one in others if one.model not in served)

    def order(pair: tuple[int, Resident]) -> tuple[int, bool, float, str]:
        harm, one = pair
        # The idle ones least recently used first. The busy ones in an order that stays while they are drained:
        # by leases, say, the choice would wander from one to the next and none would ever be empty.
        return harm, one.model in finishing, one.idle_since if harm <= _ALWAYS else one.loaded_at, one.model

    victims = _fewest([one for _, one in sorted(harms, key=order)], lack_bytes)
    if victims is None:
        return None
    ready = max((_ready_at(world, claim, one) for one in victims if world.idle(one)), default=0.0)
    return Eviction(victims, finishing & {one.model for one in victims}, ready)


def excess(world: World) -> tuple[Resident, ...]:
    """Return idle residents that leave because more was measured than fits the budget: as many as help."""
    idle = [one for one in world.residents if world.idle(one) and not world.pinned(one)]
    ordered = sorted(idle, key=lambda one: (_idle_harm(world, one), one.idle_since, one.model))
    lack_bytes = -world.free_bytes - sum(world.leaving.values())
    if lack_bytes <= 0:
        return ()
    return tuple(ordered) if (enough := _fewest(ordered, lack_bytes)) is None else enough


def linger_until(world: World, resident: Resident, lane: Lane) -> float:
    """Return the epoch s until which an idle resident stays against work of *lane* that is not overdue."""
    return resident.idle_since + (LINGER_S if lane is Lane.INTERACTIVE else max(LINGER_S, world.facts(resident.model).load_s))


def _ready_at(world: World, claim: Claim, victim: Resident) -> float:
    if claim.overdue:
        return 0.0
    lingering = linger_until(world, victim, claim.lane)
    return min(lingering, claim.patient_until) if claim.lane is Lane.INTERACTIVE else lingering


def _harm(world: World, claim: Claim, one: Resident, *, pins_yield: bool) -> int | None:
    """Return how bad it would be that *one* leaves for *claim*; None: it must not."""
    if world.pinned(one):
        return _PINNED if pins_yield else None
    if world.idle(one):
        return _idle_harm(world, one)
    if not one.interactive_leases and not world.backlog(one.model).asked:
        return _BATCH if claim.overdue or claim.lane is Lane.INTERACTIVE else None
    return _BUSY if claim.overdue or _stuck(world, claim, one) else None


def _arriving(world: World) -> list[Resident]:
    """Return the model that is being loaded as the resident that it will be: one that has its batch before it."""
    if world.loading is None:
        return []
    return [Resident(world.loading, world.facts(world.loading).need_bytes, loaded_at=world.now)]


def _stuck(world: World, claim: Claim, one: Resident) -> bool:
    """Whether *one* waits for memory itself, and not for as long as the claim: else two that wait would wait for each other."""
    return (claim.overdue or claim.grows) and one.wanted_bytes > 0 and (claim.since, claim.model) < (world.since(one.wanted_at), one.model)


def _idle_harm(world: World, one: Resident) -> int:
    return _ALWAYS if world.facts(one.model).residency == "always" else _IDLE


def _fewest(ordered: Iterable[Resident], lack_bytes: int) -> tuple[Resident, ...] | None:
    """Take from the front until the bytes suffice, then put back from the end what was not needed."""
    taken: list[Resident] = []
    freed = 0
    for one in ordered:
        if freed >= lack_bytes:
            break
        taken.append(one)
        freed += one.bytes
    if freed < lack_bytes:
        return None
    for one in reversed(tuple(taken)):
        if freed - one.bytes >= lack_bytes:
            taken.remove(one)
            freed -= one.bytes
    return tuple(taken)
