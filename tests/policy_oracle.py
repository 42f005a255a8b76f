"""What the scheduling policy is judged by: its rules said a second time, without its own words."""

from __future__ import annotations

from app.scheduler.plans import Plan
from app.scheduler.world import Backlog, Line, Resident, World
from tests.policy_worlds import NOW

__all__ = [
    "absent_backlogs",
    "held",
    "hungry",
    "idle",
    "late",
    "leave_for_others",
    "overdue",
    "pinned",
    "residents",
    "somebody_is_overdue",
    "stays",
]


def residents(world: World) -> dict[str, Resident]:
    """Return the residents by name."""
    return {one.model: one for one in world.residents}


def absent_backlogs(world: World) -> dict[str, Backlog]:
    """Return the backlogs of models that may be loaded for them, judged without the policy's own words."""
    found = {}
    for model in world.backlogs:
        facts, backlog = world.models.get(model), _may_begin(world, model)
        if facts is None or model in residents(world) or model in (world.loading, *world.leaving):
            continue
        blocked = facts.blocked is not None and (facts.blocked.until is None or world.now < facts.blocked.until)
        fits = facts.need_bytes <= world.budget_bytes - world.taken_bytes
        if fits and not blocked and backlog.interactive.count + backlog.batch.count + backlog.waiting.count:
            found[model] = backlog
    return found


def _may_begin(world: World, model: str) -> Backlog:
    found = world.backlogs.get(model, Backlog())
    return Backlog(found.interactive, Line(), found.waiting) if world.batch_waits else found


def held(world: World) -> int:
    """Return the bytes that are taken, by others too, or promised."""
    promised = world.facts(world.loading).need_bytes if world.loading else 0
    return sum(one.bytes for one in world.residents) + sum(world.leaving.values()) + promised + world.taken_bytes


def idle(world: World, one: Resident) -> bool:
    """Whether nothing uses it and nothing waits for it."""
    backlog = _may_begin(world, one.model)
    jobs = one.interactive_leases + one.batch_leases + backlog.interactive.count + backlog.batch.count + backlog.waiting.count
    return not jobs and not one.wanted_bytes


def pinned(one: Resident) -> bool:
    """Whether a user asked that it stays."""
    return one.pinned_until is not None and one.pinned_until > NOW


def late(world: World, line: Line, bound_s: float) -> bool:
    """Whether the head of a line has waited longer than it may."""
    return line.count > 0 and NOW - max(line.head_at, world.woke_at) >= bound_s


def overdue(world: World, backlog: Backlog) -> bool:
    """Whether any head has."""
    people = any(late(world, line, world.max_wait_s) for line in (backlog.interactive, backlog.waiting))
    return people or late(world, backlog.batch, world.batch_max_wait_s)


def hungry(world: World) -> list[Line]:
    """Return the wishes of residents for KV."""
    return [Line(1, one.wanted_at) for one in world.residents if one.wanted_bytes]


def somebody_is_overdue(world: World) -> bool:
    """Whether anybody may have a busy model drained."""
    heads = any(overdue(world, backlog) for backlog in absent_backlogs(world).values())
    return heads or any(late(world, line, world.max_wait_s) for line in hungry(world))


def stays(world: World, one: Resident) -> bool:
    """Whether its time without work is not over."""
    facts = world.facts(one.model)
    return facts.residency == "always" or max(one.last_used, one.loaded_at) + facts.idle_ttl_s > NOW


def leave_for_others(world: World, decided: Plan) -> set[str]:
    """Return who leaves though its time is not over."""
    here = residents(world)
    return {name for name in decided.leaving if not idle(world, here[name]) or pinned(here[name]) or stays(world, here[name])}
