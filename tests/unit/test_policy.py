"""The scheduling policy's rules, one scene each."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from app.jobs.record import Lane
from app.scheduler.plans import Reason, Why
from app.scheduler.policy import plan
from app.scheduler.world import Backlog, Block, Line, ModelFacts, Resident, World
from tests.policy_worlds import NOW, batch, people

_LONG = NOW - 100  # idle since so long that nobody waits for it to be idle longer


def _facts(need: int, load_s: float = 5.0, **more: object) -> ModelFacts:
    return replace(ModelFacts(need_bytes=need, idle_ttl_s=600.0, slots=8, load_s=load_s), **more)  # type: ignore[arg-type]


def _here(model: str, size: int, **more: object) -> Resident:
    return replace(Resident(model, size, last_used=_LONG, loaded_at=_LONG), **more)  # type: ignore[arg-type]


def _busy(model: str, size: int, served: int = 8, **more: object) -> Resident:
    return _here(model, size, interactive_leases=1, served=served, **more)


def _world(budget: int, models: dict[str, ModelFacts], *here: Resident, **more: object) -> World:
    return replace(World(models=models, budget_bytes=budget, now=NOW, residents=here), **more)  # type: ignore[arg-type]


def _reasons(world: World) -> dict[str, Reason]:
    return dict(plan(world).reasons)


def test_a_model_that_fits_is_loaded_and_its_queue_opens_when_it_is_there() -> None:
    models = {"a": _facts(3)}
    asked = _world(5, models, backlogs={"a": people()})
    assert (plan(asked).load, plan(asked).gates) == ("a", {})
    assert plan(replace(asked, loading="a")).gates == {}
    assert plan(replace(asked, residents=[_here("a", 3)])).gates == {("a", Lane.INTERACTIVE): 8, ("a", Lane.BATCH): 6}


def test_what_is_being_loaded_holds_its_bytes_and_nothing_else_is_loaded_beside_it() -> None:
    models = {"a": _facts(3), "b": _facts(2), "c": _facts(1), "old": _facts(1)}
    world = _world(6, models, _here("old", 1), backlogs={"b": people(), "c": people()}, loading="a")
    assert plan(world).load is None
    assert plan(replace(world, budget_bytes=5)).unload == ("old",)
    assert plan(replace(world, loading=None)).load == "b"


def test_a_plan_that_loads_unloads_nobody_and_the_next_one_may() -> None:
    models = {"a": _facts(3), "old": _facts(3)}
    world = _world(9, models, _here("old", 3, last_used=NOW - 700, loaded_at=0.0), backlogs={"a": people()})
    assert (plan(world).load, plan(world).unload) == ("a", ())
    assert plan(replace(world, loading="a")).unload == ("old",)


def test_bytes_on_their_way_out_are_waited_for_and_not_collected_twice() -> None:
    models = {"a": _facts(3), "b": _facts(3), "old": _facts(3)}
    world = _world(6, models, _here("b", 3), backlogs={"a": people(waited_s=61)}, leaving={"old": 3})
    assert (plan(world).load, plan(world).unload) == (None, ())
    assert plan(replace(world, leaving={})).load == "a"


def test_what_can_never_fit_is_let_through_with_the_numbers_and_holds_nobody_up() -> None:
    models = {"huge": _facts(9), "a": _facts(3)}
    world = _world(5, models, backlogs={"huge": people(waited_s=99), "a": people()})
    assert plan(world).load == "a"
    assert plan(world).gates == {("huge", Lane.INTERACTIVE): 1, ("huge", Lane.BATCH): 1}
    assert _reasons(world)["huge"] == Reason(Why.MODEL_TOO_LARGE, need_bytes=9, budget_bytes=5)


def test_the_least_recently_used_idle_model_leaves_first_and_always_models_after_all_others() -> None:
    models = {"asr": _facts(2, residency="always"), "old": _facts(2), "new": _facts(2), "llm": _facts(4)}
    here = [_here("asr", 2, loaded_at=NOW - 300, last_used=0.0), _here("old", 2, loaded_at=NOW - 200, last_used=NOW - 150), _here("new", 2)]
    asked = {"llm": people()}
    assert plan(_world(8, models, *here, backlogs=asked)).unload == ("old",)
    assert plan(_world(7, models, *here, backlogs=asked)).unload == ("new", "old")
    assert plan(_world(6, models, *here, backlogs=asked)).unload == ("new", "old")
    assert plan(_world(4, models, *here, backlogs=asked)).unload == ("asr", "new", "old")
    alike = [_here("old", 2), _here("new", 2)]
    assert [plan(_world(6, models, *some, backlogs=asked)).unload for some in (alike, alike[::-1])] == [("new",)] * 2


def test_nobody_leaves_while_those_who_may_would_not_make_room() -> None:
    models = {"idle": _facts(2), "busy": _facts(3), "llm": _facts(5)}
    world = _world(5, models, _here("idle", 2), _busy("busy", 3), backlogs={"llm": people()})
    decided = plan(world)
    assert (decided.load, decided.unload) == (None, ())
    assert ("busy", Lane.INTERACTIVE) in decided.gates
    assert _reasons(world)["llm"] == Reason(Why.WAITS_FOR_MEMORY, 5, 0, 5, holders=("busy", "idle"))


def test_recordings_leave_for_people_once_they_had_a_batch_and_those_that_run_finish() -> None:
    models = {"asr": _facts(3), "llm": _facts(5)}
    asr = _here("asr", 3, batch_leases=2, served=8)
    world = _world(5, models, asr, backlogs={"asr": batch(20), "llm": people()})
    assert (plan(world).gates, plan(world).unload) == ({}, ())
    assert plan(replace(world, residents=[replace(asr, batch_leases=0)])).unload == ("asr",)
    fresh = replace(world, residents=[replace(asr, served=6)])
    assert plan(fresh).gates[("asr", Lane.BATCH)] == 4  # two run, and two more make a batch
    assert plan(replace(fresh, residents=[replace(asr, served=6, batch_leases=0)])).unload == ()


def test_batch_work_drives_out_only_what_has_been_idle_for_as_long_as_its_return_would_take() -> None:
    models = {"chat": _facts(5, load_s=5.0), "asr": _facts(3)}
    world = _world(5, models, _here("chat", 5, last_used=NOW - 4.75), backlogs={"asr": batch()})
    assert (plan(world).unload, plan(world).wake_at) == ((), NOW + 0.25)
    assert plan(replace(world, now=NOW + 0.25)).unload == ("chat",)


def test_batch_work_waits_for_batch_work_until_it_is_overdue_and_then_for_no_pause() -> None:
    models = {"chat": _facts(5), "asr": _facts(5)}
    busy = _here("chat", 5, batch_leases=1, served=8)
    world = _world(5, models, busy, backlogs={"asr": batch(waited_s=1799)})
    assert plan(world).leaving == ()
    assert plan(replace(world, now=NOW + 1)).leaving == ("chat",)
    assert plan(replace(world, now=NOW + 1, residents=[_here("chat", 5, last_used=NOW + 1)])).unload == ("chat",)


def test_a_pause_of_a_busy_model_is_no_reason_to_swap_until_somebody_has_waited_long() -> None:
    models = {"a": _facts(5), "b": _facts(5, load_s=3.0)}
    world = _world(5, models, _here("a", 5, last_used=NOW - 0.25), backlogs={"b": people(waited_s=2.5)})
    assert (plan(world).unload, plan(world).wake_at) == ((), NOW + 0.25)
    assert plan(replace(world, now=NOW + 0.25)).unload == ("a",)
    assert plan(replace(world, backlogs={"b": people(waited_s=3.0)})).unload == ("a",)


def test_people_who_waited_too_long_get_a_busy_model_drained() -> None:
    models = {"a": _facts(5), "b": _facts(5)}
    world = _world(5, models, _busy("a", 5), backlogs={"a": people(9), "b": people(waited_s=59.5)})
    assert (plan(world).gates[("a", Lane.INTERACTIVE)], plan(world).wake_at) == (8, NOW + 0.5)
    late = replace(world, now=NOW + 0.5)
    assert (plan(late).gates, plan(late).unload) == ({}, ())
    assert _reasons(late)["a"] == Reason(Why.OVERDUE_TURN, holders=("b",))
    assert _reasons(late)["b"].holders == ("a",)
    assert plan(replace(late, residents=[_here("a", 5, served=8)])).unload == ("a",)


def test_what_was_loaded_serves_the_rest_of_its_batch_before_it_makes_way() -> None:
    models = {"a": _facts(5), "b": _facts(5)}
    world = _world(5, models, _busy("a", 5, served=5), backlogs={"a": people(9), "b": people(waited_s=99)})
    assert plan(world).gates == {("a", Lane.INTERACTIVE): 4}  # one runs, and three more make a batch
    assert plan(replace(world, residents=[_here("a", 5, served=5)])).unload == ()


def test_what_is_still_being_loaded_has_its_batch_too_and_nobody_else_has_another_meanwhile() -> None:
    models = {"busy": _facts(2), "next": _facts(3), "big": _facts(5)}
    heads = {"busy": people(9), "next": people(9), "big": people(waited_s=61)}
    world = _world(5, models, _busy("busy", 2), backlogs=heads, loading="next")
    assert (plan(world).gates, plan(world).leaving) == ({}, ("busy",))
    loaded = replace(world, loading=None, residents=[_here("busy", 2, served=8), _here("next", 3)])
    assert plan(loaded).gates == {("next", Lane.INTERACTIVE): 8}
    assert plan(loaded).unload == (), "nobody goes before all can"


def test_the_overdue_come_before_people_and_people_before_batch_work() -> None:
    models = {"a": _facts(5), "b": _facts(5), "c": _facts(5)}
    heads = {"a": batch(waited_s=1799), "b": people(waited_s=1), "c": people(waited_s=2)}
    assert plan(_world(5, models, backlogs=heads)).load == "c"
    assert plan(_world(5, models, backlogs=heads | {"a": batch(waited_s=1800)})).load == "a"
    assert plan(_world(5, models, backlogs={"a": batch(waited_s=5), "b": batch(waited_s=5)})).load == "a", "names decide ties"


def test_the_oldest_overdue_head_is_next_but_a_turn_counts() -> None:
    models = {"a": _facts(5), "b": _facts(5)}
    heads = {"a": people(9, waited_s=90), "b": people(waited_s=70)}
    assert plan(_world(5, models, backlogs=heads)).load == "a"
    models["a"] = _facts(5, last_turn_at=NOW - 1)
    assert plan(_world(5, models, backlogs=heads)).load == "b"


def test_a_small_load_does_not_take_the_bytes_that_an_overdue_one_collects() -> None:
    models = {"busy": _facts(4), "big": _facts(6), "small": _facts(2)}
    backlogs = {"busy": people(3), "big": people(waited_s=61), "small": people()}
    world = _world(6, models, _busy("busy", 4), backlogs=backlogs)
    assert plan(world).load is None
    assert _reasons(world)["small"].word == Why.OVERDUE_TURN
    assert plan(replace(world, budget_bytes=8)).load == "small", "beside it there is room"
    assert plan(replace(world, backlogs={**backlogs, "big": people()})).load == "small", "nobody is overdue"


def test_an_overdue_head_is_not_overtaken_while_a_running_request_gets_its_kv() -> None:
    models = {"busy": _facts(3), "big": _facts(5), "small": _facts(1)}
    hungry = _busy("busy", 3, wanted_bytes=2, wanted_at=NOW)
    world = _world(6, models, hungry, backlogs={"big": people(waited_s=61), "small": people()})
    assert plan(world).load is None
    assert plan(replace(world, backlogs={"small": people()})).load == "small"


def test_batch_work_takes_no_memory_while_people_wait_for_memory() -> None:
    models = {"busy": _facts(4), "big": _facts(6), "small": _facts(2)}
    world = _world(6, models, _busy("busy", 4), backlogs={"big": people(), "small": batch()})
    assert plan(world).load is None
    assert _reasons(world)["small"] == Reason(Why.WAITS_FOR_MEMORY, 2, 2, 6, holders=("big",))
    assert plan(replace(world, backlogs={"small": batch()})).load == "small"
    models |= {"idle": _facts(2), "other": _facts(3), "tiny": _facts(1)}
    crowd = {"big": people(waited_s=1), "other": people(), "tiny": batch()}
    world = _world(8, models, _busy("busy", 4), _here("idle", 2), backlogs=crowd)
    assert plan(world).unload == ("idle",)
    unserved = replace(world, residents=[_busy("busy", 4), _here("idle", 2, last_used=NOW)])
    assert (plan(unserved).load, plan(unserved).unload) == (None, ()), "also where somebody else is about to get room"


def test_people_come_before_batch_work_of_the_same_model_up_to_its_own_bound() -> None:
    models = {"a": _facts(5)}
    mixed = Backlog(interactive=Line(5, NOW), batch=Line(50, NOW - 1799))
    world = _world(5, models, _here("a", 5, interactive_leases=4), backlogs={"a": mixed})
    assert ("a", Lane.BATCH) not in plan(world).gates
    assert plan(replace(world, now=NOW + 1)).gates[("a", Lane.BATCH)] == 1


def test_a_pin_holds_until_a_head_that_can_never_fit_beside_it_is_overdue() -> None:
    models = {"mine": _facts(4), "other": _facts(2), "big": _facts(5)}
    mine, other = _here("mine", 4, pinned_until=math.inf), _here("other", 2)
    world = _world(8, models, mine, other, backlogs={"big": people()})
    assert plan(world).unload == ()
    assert _reasons(world)["big"].pinned == ("mine",)
    assert plan(replace(world, residents=[replace(mine, pinned_until=NOW + 1), other])).wake_at == NOW + 1
    late = replace(world, backlogs={"big": people(waited_s=60)})
    assert plan(late).unload == ("mine",)
    assert plan(replace(late, budget_bytes=9)).unload == ("other",), "beside the pinned one there is room, once the other has left"
    growing = _busy("other", 2, wanted_bytes=1, wanted_at=NOW)
    assert plan(replace(late, budget_bytes=9, residents=[mine, growing])).leaving == (), "there will be, when a request has its KV"
    assert plan(replace(world, residents=[replace(mine, pinned_until=NOW)], backlogs={})).unload == ()
    assert plan(replace(world, residents=[replace(mine, last_used=NOW - 700, loaded_at=0.0)], backlogs={})).unload == ()


def test_idle_models_leave_for_kv_and_two_that_wait_for_kv_do_not_wait_for_each_other() -> None:
    models = {"a": _facts(3), "b": _facts(3)}
    hungry = _busy("a", 3, served=1, wanted_bytes=2, wanted_at=NOW)
    assert plan(_world(7, models, hungry, _here("b", 3))).unload == ("b",)
    assert plan(_world(7, models, replace(hungry, wanted_at=NOW - 30), _busy("b", 3))).wake_at == NOW + 30
    both = [replace(hungry, wanted_at=NOW - 61), replace(hungry, model="b", wanted_at=NOW - 60)]
    world = _world(7, models, *both, backlogs={"a": people(9), "b": people(9)})
    assert {model for model, _ in plan(world).gates} == {"a"}
    assert plan(replace(world, residents=[both[0], replace(both[1], interactive_leases=0)])).unload == ("b",)


def test_recordings_come_back_when_the_llm_has_had_its_time_or_a_recording_comes() -> None:
    models = {"asr": _facts(2, residency="always", load_s=2.0), "llm": _facts(9)}
    llm = _here("llm", 9, last_used=NOW - 600, loaded_at=0.0)
    assert plan(_world(10, models, llm)).unload == ("llm",)
    assert plan(_world(10, models)).load == "asr"
    assert plan(_world(10, models, _here("asr", 2, last_used=NOW - 9999, loaded_at=0.0))).unload == ()
    assert plan(_world(10, models, backlogs={"llm": people()})).load == "llm"
    assert plan(_world(10, models, _here("llm", 9), backlogs={"asr": batch()})).unload == ("llm",)


def test_more_than_the_budget_was_measured_so_somebody_idle_leaves() -> None:
    models = {"a": _facts(3), "b": _facts(3)}
    assert plan(_world(5, models, _busy("a", 3), _here("b", 3))).unload == ("b",)
    assert plan(_world(5, models, _busy("a", 3), leaving={"b": 3})).unload == ()


def test_a_model_that_must_not_be_loaded_says_why_and_lets_others_pass() -> None:
    models = {"a": _facts(3, blocked=Block("circuit_open", NOW + 30)), "b": _facts(3)}
    world = _world(5, models, backlogs={"a": people(waited_s=99), "b": batch()})
    assert (plan(world).load, plan(world).wake_at) == ("b", NOW + 30)
    assert _reasons(world)["a"] == Reason("circuit_open", until=NOW + 30)
    assert plan(replace(world, now=NOW + 30)).load == "a"


def test_after_sleep_nobody_has_waited_long() -> None:
    models = {"a": _facts(5), "b": _facts(5)}
    world = _world(5, models, _busy("a", 5), backlogs={"a": people(), "b": people(waited_s=9999)})
    assert plan(world).gates == {}
    assert plan(replace(world, woke_at=NOW - 1)).gates
    assert plan(replace(world, woke_at=NOW - 1)).wake_at == NOW + 1 + 4 - 1  # patience, which is a load of b's


def test_short_memory_of_the_machine_stops_what_has_not_begun() -> None:
    models = {"a": _facts(2), "b": _facts(2), "c": _facts(2)}
    world = _world(9, models, _busy("a", 2), _here("b", 2, last_used=NOW - 4), backlogs={"c": people()}, admission=False)
    assert (plan(world).gates, plan(world).load, plan(world).unload, plan(world).wake_at) == ({}, None, (), NOW + 1)
    assert plan(replace(world, now=NOW + 1)).unload == ("b",)
    assert _reasons(world)["c"].word == Why.MEMORY_PRESSURE


@pytest.mark.parametrize(("slots", "for_batch"), [(1, 1), (2, 2), (4, 3), (8, 6), (16, 12), (64, 60)])
def test_batch_work_leaves_a_quarter_of_the_slots_and_four_at_most(slots: int, for_batch: int) -> None:
    world = _world(5, {"a": _facts(3, slots=slots)}, _here("a", 3), backlogs={"a": batch(99)})
    assert plan(world).gates[("a", Lane.BATCH)] == for_batch


@pytest.mark.parametrize("lane", list(Lane))
def test_a_model_that_the_catalog_lost_lets_its_jobs_fail_and_leaves_when_idle(lane: Lane) -> None:
    assert plan(_world(5, {}, backlogs={"gone": people()})).gates[("gone", lane)] == 1
    assert plan(_world(5, {}, _here("gone", 3))).unload == ("gone",)


def test_of_two_that_wait_for_memory_the_younger_gives_way_at_once() -> None:
    models = {"a": _facts(3), "b": _facts(3)}
    older, younger = _busy("a", 3, wanted_bytes=2, wanted_at=NOW - 2), _busy("b", 3, wanted_bytes=2, wanted_at=NOW - 1)
    assert plan(_world(7, models, older, younger)).leaving == ("b",)
    assert plan(_world(7, models, older, replace(younger, wanted_bytes=0))).leaving == ()  # it works, and the older one waits
