"""Worlds for tests of the scheduling policy: small ones by hand, and drawn ones with so few values that ties happen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from hypothesis import strategies as st

from app.scheduler.world import Backlog, Block, Line, ModelFacts, Resident, World

__all__ = ["NOW", "batch", "people", "worlds"]

NOW = 1_000_000.0
_T = TypeVar("_T")

_NAMES = ("a", "b", "c", "d")


def people(count: int = 1, waited_s: float = 0.0) -> Backlog:
    """Return interactive jobs whose head has waited so long."""
    return Backlog(interactive=Line(count, NOW - waited_s))


def batch(count: int = 1, waited_s: float = 0.0) -> Backlog:
    """Return batch jobs whose head has waited so long."""
    return Backlog(batch=Line(count, NOW - waited_s))


def _any_of(make: Callable[..., _T], **choices: Sequence[object]) -> st.SearchStrategy[_T]:
    """Draw a value with one of the choices for each field. One number decides all, since Hypothesis takes its time for each draw."""

    def build(number: int) -> _T:
        fields = {}
        for name, values in choices.items():
            number, index = divmod(number, len(values))
            fields[name] = values[index]
        return make(**fields)

    return st.integers(0, math.prod(map(len, choices.values())) - 1).map(build)


_SINCE = tuple(NOW - age for age in (0.0, 0.25, 0.5, 1.0, 2.0, 5.0, 60.0, 61.0, 1800.0))
_COUNTS = (0, 0, 1, 2, 5)

_lines = _any_of(Line, count=_COUNTS, head_at=_SINCE)
_backlogs = st.builds(Backlog, _lines, _lines, st.one_of(st.just(Line()), st.just(Line()), _lines))
_asked = _any_of(people, count=(1, 9), waited_s=(0.0, 1.0, 2.0, 60.0, 61.0))
_submitted = _any_of(batch, count=(1, 9), waited_s=(0.0, 1.0, 61.0, 1800.0))
_facts = _any_of(
    ModelFacts,
    need_bytes=(1, 2, 3, 5, 9),
    residency=("on-demand", "always"),
    idle_ttl_s=(600.0, 60.0, 1.0),
    slots=(1, 2, 8),
    load_s=(0.0, 1.0, 5.0),
    blocked=(None, None, None, None, Block("circuit_open"), Block("downloading", NOW), Block("downloading", NOW + 1)),
    last_turn_at=(0.0, NOW - 61, NOW - 1, NOW),
)


def _resident(name: str) -> st.SearchStrategy[Resident]:
    return _any_of(
        Resident,
        model=(name,),
        bytes=(1, 2, 3, 5, 0),
        interactive_leases=_COUNTS,
        batch_leases=_COUNTS,
        last_used=_SINCE,
        loaded_at=_SINCE,
        served=(0, 1, 2, 8),
        wanted_bytes=(0, 0, 0, 1, 3),
        wanted_at=_SINCE,
        pinned_until=(None, None, None, NOW, NOW + 1, math.inf),
    )


@st.composite
def _any_worlds(draw: st.DrawFn) -> World:
    names = draw(st.permutations(_NAMES))
    here = names[: draw(st.integers(0, 3))]
    known = names if draw(st.integers(0, 9)) else names[1:]
    return World(
        models={name: draw(_facts) for name in known},
        budget_bytes=draw(st.sampled_from([3, 5, 6, 9])),
        now=NOW,
        residents=[draw(_resident(name)) for name in here],
        backlogs={name: draw(_backlogs) for name in draw(st.permutations(_NAMES))[:2]},
        loading=draw(st.sampled_from([None, None, None, names[-1]])),
        leaving=draw(st.sampled_from([{}, {}, {}, {names[-1]: 1}])),
        batch_max_wait_s=draw(st.sampled_from([1800.0, 61.0])),
        woke_at=draw(st.sampled_from([0.0, 0.0, NOW - 1])),
        admission=draw(st.sampled_from([True, True, True, False])),
        taken_bytes=draw(st.sampled_from([0, 0, 0, 1, 3])),
        batch_waits=draw(st.sampled_from(["", "", "", "on_battery"])),
    )


@st.composite
def _crowded_worlds(draw: st.DrawFn) -> World:
    """Draw a world in which somebody has to leave, or nearly."""
    here = [replace(draw(_resident(name)), wanted_bytes=0) for name in ("a", "b")]
    models = {name: replace(draw(_facts), blocked=None) for name in _NAMES}
    return World(
        models=models,
        budget_bytes=sum(one.bytes for one in here) + draw(st.integers(0, 3)),
        now=NOW,
        residents=here,
        backlogs={
            "a": draw(st.one_of(st.just(Backlog()), _submitted, _asked)),
            "c": draw(st.one_of(_asked, _submitted)),
            "d": draw(st.one_of(st.just(Backlog()), _submitted, _asked)),
        },
        loading=draw(st.sampled_from([None, None, None, "d"])),
    )


def worlds() -> st.SearchStrategy[World]:
    """Draw any world: crowded ones, and ones in which more is in memory than should be, or models are that the catalog lost."""
    return st.one_of(_crowded_worlds(), _any_worlds())
