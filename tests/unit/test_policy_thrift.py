"""The scheduling policy where the machine is to be thrifty: batch work that waits, and memory that other programs have."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings

from app.jobs.record import Lane
from app.scheduler.plans import Reason, Why
from app.scheduler.policy import plan
from app.scheduler.sentences import waiting_state
from app.scheduler.world import Line, ModelFacts, Resident, World
from tests.policy_oracle import residents
from tests.policy_worlds import NOW, batch, people, worlds

_MODELS = {name: ModelFacts(need_bytes=need, idle_ttl_s=600.0, slots=8, load_s=5.0) for name, need in (("small", 2), ("big", 5))}
_LONG = NOW - 100
_THRIFTY = World(models=_MODELS, budget_bytes=8, now=NOW, batch_waits=Why.ON_BATTERY)
_CROWDED = World(models=_MODELS, budget_bytes=8, now=NOW, taken_bytes=4)


def test_batch_work_that_waits_gets_no_gate_and_no_load_and_people_get_both() -> None:
    here = Resident("small", 2, last_used=_LONG, loaded_at=_LONG)
    world = replace(_THRIFTY, residents=[here], backlogs={"small": batch(waited_s=9999), "big": batch(waited_s=9999)})
    assert (plan(world).gates, plan(world).load) == ({("small", Lane.INTERACTIVE): 8}, None)
    assert plan(world).reasons == {"small": Reason(Why.ON_BATTERY), "big": Reason(Why.ON_BATTERY)}
    assert plan(replace(world, backlogs={"big": people()})).load == "big"
    assert plan(replace(world, batch_waits="")).load == "big"


def test_a_model_that_only_waiting_batch_work_wants_is_idle() -> None:
    here = Resident("small", 2, last_used=NOW - 700, loaded_at=NOW - 700)
    world = replace(_THRIFTY, residents=[here], backlogs={"small": batch()})
    assert plan(world).unload == ("small",)
    assert plan(replace(world, batch_waits="")).unload == ()


def test_what_runs_for_batch_work_goes_on() -> None:
    here = Resident("small", 2, batch_leases=3, last_used=NOW - 700, loaded_at=NOW - 700)
    assert plan(replace(_THRIFTY, residents=[here])).unload == ()


def test_no_model_is_loaded_into_what_other_programs_have() -> None:
    world = replace(_CROWDED, backlogs={"big": people(waited_s=99), "small": people()})
    assert plan(world).load == "small", "what cannot come now lets others pass, however long it has waited"
    assert plan(world).gates == {}, "and is not let through to fail"
    assert plan(world).reasons["big"] == Reason(Why.MEMORY_PRESSURE, 5, 4, 8)
    assert plan(replace(world, taken_bytes=3)).load == "big"


def test_idle_models_leave_for_one_that_then_fits_beside_other_programs() -> None:
    idle = Resident("small", 2, last_used=_LONG, loaded_at=_LONG)
    world = replace(_CROWDED, taken_bytes=2, residents=[idle], backlogs={"big": people()})
    assert plan(world).unload == ("small",)
    assert plan(replace(world, taken_bytes=1)).load == "big"
    assert plan(replace(world, taken_bytes=4, residents=[idle])).unload == (), "not where that would not help"


def test_an_always_model_does_not_come_back_into_what_others_have() -> None:
    models = {"ears": replace(_MODELS["big"], residency="always")}
    assert plan(replace(_CROWDED, models=models)).load is None
    assert plan(replace(_CROWDED, models=models, taken_bytes=3)).load == "ears"


def test_what_always_stays_does_not_come_and_go_with_what_others_requests_take() -> None:
    models = {"small": replace(_MODELS["small"], residency="always", load_s=2.0, last_turn_at=NOW - 19), "big": _MODELS["big"]}
    between = Resident("big", 3, interactive_leases=1, served=8, last_used=_LONG, loaded_at=_LONG)  # less than a request needs
    world = World(models=models, budget_bytes=7, now=NOW, residents=[between])
    assert plan(world).load is None
    assert plan(world).wake_at == NOW + 1
    after = replace(world, now=NOW + 1)
    assert plan(after).load == "small"
    assert plan(replace(after, budget_bytes=6)).load is None
    assert plan(replace(world, backlogs={"small": people()})).load == "small", "who asks for it does not wait for that"


def test_who_is_crowded_out_is_told_how_much_is_left() -> None:
    told = waiting_state("big", Reason(Why.MEMORY_PRESSURE, 5_000_000_000, 4_000_000_000, 8_000_000_000))
    assert told is not None
    assert "big needs 5.0 GB, and other programs leave 4.0 GB" in told.detail
    assert waiting_state("small", Reason(Why.ON_BATTERY)) is None, "it is told of the lane, not of the model, whose people are served"


@settings(max_examples=200, deadline=None)
@given(worlds())
def test_no_batch_work_begins_while_it_waits_and_people_are_served_as_if_there_were_none(world: World) -> None:
    decided = plan(replace(world, batch_waits="on_battery"))
    assert all(lane is Lane.INTERACTIVE for model, lane in decided.gates if model in residents(world))
    alone = {model: replace(backlog, batch=Line()) for model, backlog in world.backlogs.items()}
    same = plan(replace(world, batch_waits="on_battery", backlogs=alone))
    assert (decided.load, decided.unload, decided.leaving) == (same.load, same.unload, same.leaving)
