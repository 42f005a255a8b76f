"""The judge of loads finds those that nobody needed, and no others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.jobs.memory_log import MemoryChange
from tests.integration.load_history import Absence, Stay, Wait, needless_loads, stays

_FIRST = Stay("one", "north", began_at=100.0, ready_at=101.0, ended_at=200.0)
_WAITED = Wait("job", "north", submitted_at=99.0, from_at=99.0, to_at=101.0)


def second(began_at: float) -> Stay:
    return Stay("two", "north", began_at=began_at, ready_at=began_at + 1, ended_at=200.0)


def later(wait_s: float, until: float) -> Wait:
    return Wait("late", "north", submitted_at=until - wait_s, from_at=until - wait_s, to_at=until)


@pytest.mark.parametrize(
    ("load", "wait", "verdict"),
    [
        (second(120.0), later(0.0, 90.0), "nobody waited"),
        (second(100.5), later(1.0, 101.0), "coming already"),
        (second(120.0), later(4.0, 121.0), "kept up with"),
        (second(120.0), replace(later(9.0, 121.0), model="south"), "nobody waited"),
        (replace(second(120.0), home="three"), later(6.0, 121.0), ""),
    ],
)
def test_a_second_load_needs_somebody_who_has_waited_too_long(load: Stay, wait: Wait, verdict: str) -> None:
    found = needless_loads([_FIRST, load], [_WAITED, wait], [])
    assert [verdict in text for text in found] == ([True] if verdict else [])


def test_what_a_worker_that_is_silent_or_lets_it_go_has_is_no_reason_against_a_load() -> None:
    told, waited = [_FIRST, second(120.0)], [_WAITED, later(1.0, 121.0)]
    assert len(needless_loads(told, waited, [])) == 1
    assert needless_loads(told, waited, [Absence("one", 110.0)]) == []
    assert len(needless_loads(told, waited, [Absence("one", 110.0, 119.0)])) == 1
    assert needless_loads([replace(_FIRST, ended_at=120.5), told[1]], waited, []) == []


def test_a_stay_lasts_from_the_load_until_the_model_or_its_worker_is_gone() -> None:
    said = [("one-a", "loading"), ("one-a", "resident"), ("two-a", "resident"), ("two-a", "gone"), ("one-b", "began")]
    changes = [
        MemoryChange.model_validate({"id": f"{at}-0", "at": float(at), "worker": worker, "what": what, "model": "north"})
        for at, (worker, what) in enumerate(said)
    ]
    assert stays(changes) == [Stay("one", "north", 0.0, 1.0, 4.0), Stay("two", "north", 2.0, 2.0, 3.0)]
