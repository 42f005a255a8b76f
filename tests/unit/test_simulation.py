"""The simulated machine, and what is said of the policy with its help."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings

from bench.simulate import WAYS, renewed
from bench.simulation.bound import lower_bound
from bench.simulation.drawing import draw
from bench.simulation.figures import judge
from bench.simulation.machine import Arrival, Impossible, Machine, SimModel, Trace, replay
from bench.simulation.traces import traces
from tests.policy_traces import traces as drawn_traces

_DOCS = Path(__file__).parents[2] / "docs"
_MODEL = SimModel(bytes=3, load_s=2.0, slots=2, batch_cost=0.5, unload_s=0.5)


def _trace(*arrivals: Arrival) -> Trace:
    return Trace("by hand", {"a": _MODEL, "b": _MODEL}, 5, arrivals)


@pytest.mark.parametrize("way", WAYS)
def test_a_small_trace_ends_when_it_does_by_hand(way: str) -> None:
    machine = replay(_trace(Arrival(0.0, "a", 1.0), Arrival(0.0, "a", 1.0), Arrival(0.0, "a", 1.0)), WAYS[way]())
    # Loaded at 2. Two run at once, each at 1 / 1.5 of its speed, until 3.5; then the third by itself.
    assert [(job.started_at, job.ended_at) for job in machine.jobs] == [(2.0, 3.5), (2.0, 3.5), (3.5, 4.5)]


@pytest.mark.parametrize(("way", "loads"), [("policy", 2), ("FIFO", 4), ("LRU", 4)])
def test_ways_differ_in_how_often_they_change_the_model(way: str, loads: int) -> None:
    arrivals = [Arrival(0.0, "abab"[number // 2], 1.0) for number in range(8)]
    assert len(replay(_trace(*arrivals), WAYS[way]()).stays) == loads


def test_what_follows_a_group_comes_when_the_last_of_the_group_has_ended() -> None:
    trace = _trace(Arrival(0.0, "a", 1.0, group="file"), Arrival(4.0, "a", 1.0, group="file"))
    machine = replay(replace(trace, followers={"file": [Arrival(0.5, "a", 1.0)]}), WAYS["policy"]())
    assert [job.came_at for job in machine.jobs] == [0.0, 4.0, 5.5]


def test_the_machine_refuses_what_would_break_a_real_one() -> None:
    machine = Machine(_trace())
    machine.load("a")
    with pytest.raises(Impossible, match="two loads"):
        machine.load("b")
    machine.advance(2.0)
    with pytest.raises(Impossible, match="memory promised twice"):
        machine.load("b")
    machine.come(Arrival(2.0, "a", 1.0))
    machine.lease(machine.queued[0])
    with pytest.raises(Impossible, match="under a lease"):
        machine.unload("a")


@settings(max_examples=100, deadline=None)
@given(drawn_traces())
def test_no_way_beats_the_bound(trace: Trace) -> None:
    fitting = {name: replace(model, bytes=min(model.bytes, trace.budget_bytes)) for name, model in trace.models.items()}
    feasible = replace(trace, models=fitting)
    bound = lower_bound(feasible)
    for way, make in WAYS.items():
        outcome = judge(way, replay(feasible, make()))
        assert not outcome.unserved
        assert outcome.loads >= bound.loads
        assert outcome.makespan_s >= bound.makespan_s - 1e-6


def test_the_table_and_the_pictures_of_the_documentation_are_what_the_simulator_finds() -> None:
    judged = []
    for trace in traces():
        replays = [(way, replay(trace, make())) for way, make in WAYS.items()]
        judged.append((trace, [judge(way, machine) for way, machine in replays]))
        picture = draw(replays)
        assert (_DOCS / "scheduler" / f"{trace.name}.svg").read_text() == picture
        assert ET.fromstring(picture).tag.endswith("svg")  # noqa: S314 - drawn here
        bound = lower_bound(trace)
        assert all(one.makespan_s >= bound.makespan_s - 1e-6 for one in judged[-1][1])
    page = (_DOCS / "scheduler.md").read_text()
    assert renewed(page, judged) == page
