"""What holds over time, on a machine in virtual time that refuses to run what would break a real one."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import event, given, settings

from app.jobs.record import Lane
from bench.simulation.dispatchers import Fifo, Policy
from bench.simulation.machine import Arrival, Job, Machine, SimModel, Stay, Trace, replay
from tests.policy_traces import NAMES, traces

_many = settings(max_examples=150, deadline=None)


def _of_which_one_fits(trace: Trace) -> Trace:
    return replace(trace, models={name: replace(model, bytes=3) for name, model in trace.models.items()})


def _absences(machine: Machine) -> list[tuple[Stay, float]]:
    """Return each stay that came about for a job, with the virtual s since which its model had been away."""
    found = []
    for number, stay in enumerate(machine.stays):
        before = [other.unload_at for other in machine.stays[:number] if other.model == stay.model]
        found.append((stay, max(before, default=0.0)))
    return found


def _waiting(machine: Machine, stay: Stay) -> list[Job]:
    return [job for job in machine.jobs if job.arrival.model == stay.model and job.came_at <= stay.load_at < job.leased_at]


def _most_leases(machine: Machine, stay: Stay, since: float) -> list[tuple[int, int]]:
    """Return for each other model how many jobs it began between *since* and the load, and its slots."""
    others = [name for name in NAMES if name != stay.model]
    begun = [[job for job in machine.jobs if job.arrival.model == name and since < job.leased_at <= stay.load_at] for name in others]
    return [(len(jobs), machine.trace.models[name].slots) for name, jobs in zip(others, begun, strict=True)]


@_many
@given(traces())
def test_all_that_can_fit_is_served_and_all_else_is_refused(trace: Trace) -> None:
    machine = replay(trace, Policy())
    assert len(machine.jobs) == len(trace.arrivals)
    for job in machine.jobs:
        assert job.ended_at < math.inf
        assert job.refused == (trace.models[job.arrival.model].bytes > trace.budget_bytes)


@_many
@given(traces())
def test_once_a_head_is_overdue_each_other_model_gets_at_most_one_batch_before_it(trace: Trace) -> None:
    machine = replay(_of_which_one_fits(trace), Policy())
    bounds = {Lane.INTERACTIVE: trace.max_wait_s, Lane.BATCH: trace.batch_max_wait_s}
    for stay, away_since in _absences(machine):
        late = [job.came_at + bounds[job.arrival.lane] for job in _waiting(machine, stay)]
        since = max(away_since, min(late, default=math.inf))
        if since < stay.load_at:
            event("an overdue head waits for memory")
            assert all(begun <= slots for begun, slots in _most_leases(machine, stay, since))


@_many
@given(traces())
def test_batch_work_that_is_not_overdue_holds_people_up_by_no_more_than_a_batch(trace: Trace) -> None:
    arrivals = [replace(one, lane=Lane.INTERACTIVE if one.model == "a" else Lane.BATCH) for one in trace.arrivals]
    machine = replay(replace(_of_which_one_fits(trace), arrivals=arrivals, batch_max_wait_s=1e6), Policy())
    for stay, away_since in _absences(machine):
        if stay.model == "a" and (waiting := _waiting(machine, stay)):
            event("people wait for memory")
            since = max(away_since, min(job.came_at for job in waiting))
            assert all(begun <= slots for begun, slots in _most_leases(machine, stay, since))


@_many
@given(traces())
def test_people_come_first_where_both_wait_for_one_model(trace: Trace) -> None:
    model = SimModel(1, 0.5, slots=8, residency="on-demand")
    arrivals = [replace(one, model="a") for one in trace.arrivals]
    machine = replay(replace(trace, models={"a": model}, arrivals=arrivals, batch_max_wait_s=1e6), Policy())
    batch = [job for job in machine.jobs if job.arrival.lane is Lane.BATCH]
    for job in machine.jobs:
        if job.arrival.lane is Lane.INTERACTIVE:
            assert not [one for one in batch if job.came_at < one.leased_at < job.leased_at]


@_many
@given(traces())
def test_every_load_serves_or_nothing_waited_for_it_any_more(trace: Trace) -> None:
    machine = replay(trace, Policy())
    for stay in machine.stays:
        if stay.unload_at < math.inf and trace.models[stay.model].residency == "on-demand":
            assert stay.served


@pytest.mark.parametrize("load_s", [0.05, 0.5, 5.0])
@pytest.mark.parametrize("work_s", [0.03, 0.2, 1.0])
@pytest.mark.parametrize("slots", [1, 16])
def test_of_three_models_of_which_one_fits_none_thrashes(load_s: float, work_s: float, slots: int) -> None:
    models = dict.fromkeys(NAMES, SimModel(3, load_s, slots=slots))
    draw = random.Random(7)  # noqa: S311 - a trace, not a secret
    mixed = [Arrival(number * 0.05, draw.choice(NAMES), work_s) for number in range(60)]
    alternating = [Arrival(0.0, "ab"[number % 2], work_s) for number in range(40)]
    for arrivals in (mixed, alternating):
        trace = Trace("three", models, 4, arrivals)
        policy, fifo = (len(replay(trace, dispatcher).stays) for dispatcher in (Policy(), Fifo()))
        assert policy <= 2 * len({one.model for one in arrivals}) + 1
        assert 4 * policy <= fifo
