"""Worlds for tests of the scheduling policy: small ones by hand, and drawn ones with so few values that ties happen."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from app.scheduler.world import Backlog, Block, Line, ModelFacts, Resident, World

__all__ = ["NOW", "absent_backlogs", "batch", "people", "residents", "worlds"]

NOW = 1_000_000.0
_NAMES = ("a", "b", "c", "d")
_AGES = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0, 60.0, 61.0, 1800.0)

_instants = st.sampled_from([NOW - age for age in _AGES])
_bytes = st.sampled_from([0, 1, 2, 3, 5])
_counts = st.sampled_from([0, 0, 1, 2, 5])


def people(count: int = 1, waited_s: float = 0.0) -> Backlog:
    """Return interactive jobs whose head has waited so long."""
    return Backlog(interactive=Line(count, NOW - waited_s))


def batch(count: int = 1, waited_s: float = 0.0) -> Backlog:
    """Return batch jobs whose head has waited so long."""
    return Backlog(batch=Line(count, NOW - waited_s))


_lines = st.builds(Line, _counts, _instants)
_backlogs = st.builds(Backlog, _lines, _lines, st.one_of(st.just(Line()), _lines))
_blocks = st.one_of(st.none(), st.none(), st.builds(Block, st.just("circuit_open"), st.sampled_from([None, NOW, NOW + 1])))
_facts = st.builds(
    ModelFacts,
    need_bytes=st.sampled_from([1, 2, 3, 5, 9]),
    residency=st.sampled_from(["always", "on-demand"]),
    idle_ttl_s=st.sampled_from([1.0, 60.0, 600.0]),
    slots=st.sampled_from([1, 2, 8]),
    load_s=st.sampled_from([0.0, 1.0, 5.0]),
    blocked=_blocks,
    last_turn_at=st.one_of(st.just(0.0), _instants),
)


def _resident(name: str) -> st.SearchStrategy[Resident]:
    return st.builds(
        Resident,
        model=st.just(name),
        bytes=_bytes,
        interactive_leases=_counts,
        batch_leases=_counts,
        last_used=_instants,
        loaded_at=_instants,
        served=st.sampled_from([0, 1, 2, 8]),
        wanted_bytes=st.sampled_from([0, 0, 0, 1, 3]),
        wanted_at=_instants,
        pinned_until=st.sampled_from([None, None, None, NOW, NOW + 1, math.inf]),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw any world: also one in which more is in memory than should be, and models that the catalog lost."""
    names = draw(st.lists(st.sampled_from(_NAMES), unique=True))
    elsewhere = [name for name in _NAMES if name not in names]
    known = draw(st.lists(st.sampled_from(_NAMES), unique=True, min_size=3))
    return World(
        models={name: draw(_facts) for name in known},
        budget_bytes=draw(st.sampled_from([3, 5, 6, 9])),
        now=NOW,
        residents=[draw(_resident(name)) for name in names],
        backlogs={name: draw(_backlogs) for name in draw(st.lists(st.sampled_from(_NAMES), unique=True, min_size=1))},
        loading=draw(st.sampled_from([None, None, None, *elsewhere])),
        max_wait_s=60.0,
        batch_max_wait_s=draw(st.sampled_from([61.0, 1800.0])),
        woke_at=draw(st.sampled_from([0.0, 0.0, NOW - 1])),
        admission=draw(st.sampled_from([True, True, True, False])),
    )


def residents(world: World) -> dict[str, Resident]:
    """Return the residents by name."""
    return {one.model: one for one in world.residents}


def absent_backlogs(world: World) -> dict[str, Backlog]:
    """Return the backlogs of models that may be loaded for them, judged without the policy's own words."""
    found = {}
    for model, backlog in world.backlogs.items():
        facts = world.models.get(model)
        if facts is None or model in residents(world) or model == world.loading or facts.need_bytes > world.budget_bytes:
            continue
        blocked = facts.blocked is not None and (facts.blocked.until is None or world.now < facts.blocked.until)
        if not blocked and backlog.interactive.count + backlog.batch.count + backlog.waiting.count:
            found[model] = backlog
    return found
