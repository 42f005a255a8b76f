"""When models are likely to be in memory, as the plans of production's own policy have it."""

from __future__ import annotations

from dataclasses import replace

from app.jobs.estimate import Outlook
from app.scheduler.forecast import Forecast
from app.scheduler.plans import Plan, Reason, Why
from app.scheduler.policy import plan
from app.scheduler.world import Block, ModelFacts, Resident, World
from tests.policy_worlds import NOW, people

_MODELS = {name: ModelFacts(need_bytes=3, idle_ttl_s=600.0, slots=4, load_s=5.0) for name in ("a", "b", "c")}
_BUSY = Resident("b", 3, interactive_leases=4, served=4, loaded_at=NOW - 50, last_used=NOW - 1)


def _ready_s(world: World, model: str = "a", **job_s: float) -> float | None:
    ready_at = Forecast(world, plan(world), job_s, loading_since=NOW - 2).outlook(model).ready_at
    return ready_at if not ready_at else round(ready_at - world.now, 1)


_FREE = World(models=_MODELS, budget_bytes=3, now=NOW, backlogs={"a": people(1, 1.0)})
_TAKEN = replace(_FREE, residents=[_BUSY])


def test_a_model_that_is_there_is_ready_and_tells_its_slots_and_its_mean() -> None:
    world = replace(_TAKEN, backlogs={"b": people(1, 1.0)})
    assert Forecast(world, plan(world), {"b": 1.23456}).outlook("b") == Outlook(ready_at=0, job_s=1.2, slots=4)


def test_a_load_takes_as_long_as_the_last_one() -> None:
    assert _ready_s(_FREE) == 5.0
    assert _ready_s(replace(_FREE, loading="a")) == 3.0


def test_of_a_model_that_was_never_loaded_nothing_is_said() -> None:
    assert _ready_s(replace(_FREE, models={"a": replace(_MODELS["a"], load_s=0.0)})) is None


def test_who_waits_for_memory_waits_for_all_that_its_holders_have() -> None:
    assert _ready_s(_TAKEN, b=2.0) == 2.0 + 5.0
    assert _ready_s(replace(_TAKEN, backlogs={"a": people(1, 1.0), "b": people(8, 1.0)}), b=2.0) == 6.0 + 5.0


def test_the_instant_at_which_it_is_overdue_bounds_a_wait_for_memory() -> None:
    endless = replace(_TAKEN, backlogs={"a": people(1, waited_s=50.0), "b": people(4000, waited_s=40.0)})
    assert _ready_s(endless, b=2.0) == 10.0 + 2.0 + 5.0
    assert _ready_s(endless) == 10.0 + 5.0  # no job of the other has ended yet


def test_who_comes_after_another_waits_for_its_load_and_its_jobs_too() -> None:
    world = replace(_FREE, loading="b", backlogs={"b": people(8, waited_s=30.0), "a": people(1, 1.0)})
    reason = Reason(Why.WAITS_FOR_MEMORY, 3, 0, 3, holders=("b",))
    made = Plan({}, reasons={"a": reason, "b": Reason(Why.MODEL_LOADING)})
    outlook = Forecast(world, made, {"b": 2.0}, loading_since=NOW - 2).outlook("a")
    assert outlook.ready_at == NOW + 3.0 + 4.0 + 5.0


def test_two_that_wait_for_each_other_end_the_question() -> None:
    made = Plan({}, reasons={one: Reason(Why.OVERDUE_TURN, holders=(other,)) for one, other in (("a", "b"), ("b", "a"))})
    assert Forecast(_FREE, made, {"a": 1.0, "b": 1.0}).outlook("a").ready_at is None


def test_a_block_ends_when_it_says_so_and_pressure_says_nothing() -> None:
    blocked = {"a": replace(_MODELS["a"], blocked=Block("circuit_open", until=NOW + 30))}
    assert _ready_s(replace(_FREE, models=blocked)) == 35.0
    assert _ready_s(replace(_FREE, admission=False)) is None
