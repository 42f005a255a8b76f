"""What holds for every single plan."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import TypeVar

from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from app.jobs.record import Lane
from app.scheduler.plans import Why
from app.scheduler.policy import plan
from app.scheduler.world import Line, World
from tests.policy_oracle import (
    absent_backlogs,
    held,
    hungry,
    idle,
    late,
    leave_for_others,
    overdue,
    pinned,
    residents,
    somebody_is_overdue,
    stays,
)
from tests.policy_worlds import NOW, worlds

_T = TypeVar("_T")
_many = settings(max_examples=200, deadline=None)


@_many
@given(worlds())
def test_memory_is_promised_once(world: World) -> None:
    decided = plan(world)
    if decided.load is not None:
        event("loads")
        assert world.loading is None
        assert not decided.unload
        assert decided.load not in residents(world)
        assert held(world) + world.facts(decided.load).need_bytes <= world.budget_bytes


@_many
@given(worlds())
def test_what_is_unloaded_has_no_lease_and_no_open_gate(world: World) -> None:
    decided = plan(world)
    for model in decided.unload:
        event("unloads")
        assert not residents(world)[model].leases
        assert all(decided.gates.get((model, lane), 0) == 0 for lane in Lane)


@_many
@given(worlds())
def test_what_can_never_fit_is_let_through_and_never_loaded(world: World) -> None:
    assume(world.admission)
    decided = plan(world)
    for model, facts in world.models.items():
        if facts.need_bytes > world.budget_bytes and model not in {*residents(world), *world.leaving, world.loading}:
            assert decided.load != model
            assert all(decided.gates[model, lane] == 1 for lane in Lane)
            if not world.backlog(model).empty:
                reason = decided.reasons[model]
                assert reason.word == Why.MODEL_TOO_LARGE
                assert (reason.need_bytes, reason.budget_bytes) == (facts.need_bytes, world.budget_bytes)


@_many
@given(worlds())
def test_only_models_in_memory_have_open_gates(world: World) -> None:
    decided = plan(world)
    for (model, _), gate in decided.gates.items():
        assert gate > 0
        if model in world.models and world.models[model].need_bytes <= world.budget_bytes:
            assert model in residents(world)


@_many
@given(worlds())
def test_batch_work_leaves_slots_to_people(world: World) -> None:
    decided = plan(world)
    for one in world.residents:
        backlog, slots = world.backlog(one.model), world.facts(one.model).slots
        gate = decided.gates.get((one.model, Lane.BATCH), 0)
        too_long = late(world, backlog.batch, world.batch_max_wait_s)
        assert gate <= max(1, slots - slots // 4)
        if not too_long:
            asked = one.interactive_leases + backlog.interactive.count + backlog.waiting.count
            assert gate <= max(0, slots - asked)
        elif world.admission and not absent_backlogs(world) and not hungry(world):
            assert gate >= 1, "where nobody else wants its memory, batch work that waited too long gets a slot"


@_many
@given(worlds())
def test_an_open_queue_is_wide_open(world: World) -> None:
    decided = plan(world)
    made_to_leave = leave_for_others(world, decided)
    if world.admission and not somebody_is_overdue(world):
        for one in world.residents:
            backlog = world.backlog(one.model)
            if backlog.interactive.count and not one.wanted_bytes:
                assert one.model not in made_to_leave, "a model that people wait for leaves only for overdue work"


@_many
@given(worlds())
def test_no_more_leave_than_one_claim_needs_and_no_fewer(world: World) -> None:
    assume(world.admission and held(world) <= world.budget_bytes)
    decided = plan(world)
    leave = leave_for_others(world, decided)
    if not leave:
        return
    event("makes room")
    claims = {model: world.facts(model).need_bytes for model in absent_backlogs(world)}
    claims |= {one.model: one.wanted_bytes for one in world.residents if one.wanted_bytes}
    sizes = {one.model: one.bytes for one in world.residents}
    if world.loading is not None:
        sizes[world.loading] = world.facts(world.loading).need_bytes  # it may have to leave, too, once it is there
    free = world.budget_bytes - held(world) + sum(world.leaving.values())
    assert any(need <= free + sum(sizes.values()) for need in claims.values())
    if leave == set(decided.leaving) and not hungry(world) and decided.load is None and world.loading is None:
        room = {model: free + sum(sizes[name] for name in leave) - need for model, need in claims.items()}
        # Some claim fits once they are gone, and would not if any one of them stayed.
        assert any(left >= 0 and all(left - sizes[name] < 0 for name in leave) for left in room.values())


@_many
@given(worlds())
def test_a_pin_yields_only_to_what_can_never_fit_beside_it(world: World) -> None:
    decided = plan(world)
    pinned_bytes = sum(one.bytes for one in world.residents if pinned(one))
    needs = [world.facts(model).need_bytes for model, backlog in absent_backlogs(world).items() if overdue(world, backlog)]
    needs += [
        one.wanted_bytes + (0 if pinned(one) else one.bytes)
        for one in world.residents
        if one.wanted_bytes and late(world, Line(1, one.wanted_at), world.max_wait_s)
    ]
    for name in decided.leaving:
        if pinned(residents(world)[name]):
            event("a pin yields")
            assert any(need + pinned_bytes > world.budget_bytes for need in needs)


@_many
@given(worlds())
def test_a_load_serves_a_batch_before_its_model_may_go(world: World) -> None:
    decided = plan(world)
    for model in decided.unload:
        one, backlog = residents(world)[model], world.backlog(model)
        if not one.wanted_bytes:
            assert backlog.empty or one.served >= world.facts(model).slots


@_many
@given(worlds())
def test_a_model_that_must_go_after_its_batch_gets_that_batch_and_no_more(world: World) -> None:
    assume(world.admission)
    decided = plan(world)
    for one in world.residents:
        backlog, rest = world.backlog(one.model), world.facts(one.model).slots - one.served
        if one.model not in decided.leaving or backlog.empty or one.wanted_bytes or one.model not in world.models:
            continue
        opened = [decided.gates.get((one.model, lane), 0) for lane in Lane]
        fetched = max(0, min(opened[0] - one.interactive_leases, backlog.interactive.count))
        fetched += max(0, min(opened[1] - one.batch_leases, backlog.batch.count))
        assert fetched <= max(0, rest)
        if rest <= 0:
            assert opened == [0, 0]


@_many
@given(worlds())
def test_more_urgent_work_is_loaded_first(world: World) -> None:
    assume(not hungry(world))
    decided = plan(world)
    absent = absent_backlogs(world)
    if decided.load not in absent:
        return

    def urgency(model: str) -> tuple[int, float, str]:
        backlog = absent[model]
        lines = {"people": (backlog.interactive, backlog.waiting), "batch": (backlog.batch,)}
        heads = {who: [max(line.head_at, world.woke_at) for line in some if line.count] for who, some in lines.items()}
        bounds = {"people": world.max_wait_s, "batch": world.batch_max_wait_s}
        waited = [head for who, some in heads.items() for head in some if NOW - head >= bounds[who]]
        if waited:
            return 0, max(min(waited), world.models[model].last_turn_at), model
        return (1, min(heads["people"]), model) if heads["people"] else (2, min(heads["batch"]), model)

    for other in absent:
        if urgency(other) < urgency(decided.load):
            event("a less urgent model is loaded")
            assert world.facts(other).need_bytes > world.budget_bytes - held(world), "what fits and is more urgent goes first"
            if urgency(other)[0] == 0 and other not in decided.unload:
                # It collects bytes: what is loaded beside it must not be among them.
                rest = held(world) - sum(residents(world)[name].bytes for name in decided.leaving)
                assert rest + world.facts(other).need_bytes + world.facts(decided.load).need_bytes <= world.budget_bytes
            if urgency(other)[0] == 1 and urgency(decided.load)[0] == 2:
                assert decided.reasons[other].word == Why.WAITS_FOR_MEMORY


@_many
@given(worlds())
def test_an_always_model_is_loaded_unasked_only_when_no_work_wants_memory(world: World) -> None:
    decided = plan(world)
    if decided.load is not None and world.backlog(decided.load).empty:
        event("an always model returns")
        assert world.facts(decided.load).residency == "always"
        assert not absent_backlogs(world)
        assert not decided.unload


@_many
@given(worlds())
def test_idle_models_leave_when_their_time_is_over_and_always_models_stay(world: World) -> None:
    decided = plan(world)
    for one in world.residents:
        if world.admission and idle(world, one) and not pinned(one) and not stays(world, one) and decided.load is None:
            assert one.model in decided.unload
    if not absent_backlogs(world) and not hungry(world) and held(world) <= world.budget_bytes:
        assert not [model for model in decided.unload if world.facts(model).residency == "always"]


@_many
@given(worlds())
def test_an_idle_model_lingers(world: World) -> None:
    assume(world.admission and held(world) <= world.budget_bytes and not somebody_is_overdue(world))
    absent = absent_backlogs(world).values()
    asked = [line for backlog in absent for line in (backlog.interactive, backlog.waiting) if line.count]
    asked += hungry(world)
    for model in plan(world).unload:
        one, facts = residents(world)[model], world.facts(model)
        idle_s = NOW - max(one.last_used, one.loaded_at)
        if idle(world, one) and stays(world, one) and idle_s < 0.5:
            assert any(NOW - max(line.head_at, world.woke_at) >= 2.0 for line in asked)
        if idle(world, one) and stays(world, one) and not asked:
            assert idle_s >= facts.load_s


@_many
@given(worlds())
def test_nothing_begins_while_the_machine_is_short_of_memory(world: World) -> None:
    decided = plan(replace(world, admission=False))
    assert not decided.gates
    assert decided.load is None
    assert all(idle(world, residents(world)[model]) for model in decided.unload)
    assert {reason.word for reason in decided.reasons.values()} <= {Why.MEMORY_PRESSURE}


@_many
@given(worlds())
def test_all_that_waits_is_told_why(world: World) -> None:
    reasons = plan(world).reasons
    assert {model for model, backlog in world.backlogs.items() if not backlog.empty} <= set(reasons)


@_many
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_inputs_does_not_matter(world: World, random: Random) -> None:
    def shuffled(items: Iterable[_T]) -> list[_T]:
        return random.sample(found := list(items), len(found))

    models, backlogs = dict(shuffled(world.models.items())), dict(shuffled(world.backlogs.items()))
    assert plan(replace(world, models=models, residents=shuffled(world.residents), backlogs=backlogs)) == plan(world)


@_many
@given(worlds(), st.floats(0.0, 1.0, exclude_max=True))
def test_until_it_asks_to_be_woken_time_changes_nothing(world: World, part: float) -> None:
    decided = plan(world)
    until = NOW + 5000.0 if decided.wake_at is None else decided.wake_at
    assert until > NOW
    later = NOW + (until - NOW) * part
    assume(later < until)
    again = plan(replace(world, now=later))
    assert (again.gates, again.load, again.unload) == (decided.gates, decided.load, decided.unload)


@_many
@given(worlds(), st.sampled_from([-math.inf, -5.0, 0.0, math.inf]), st.sampled_from([-3, 0]))
def test_a_plan_is_made_of_anything(world: World, strange: float, few: int) -> None:
    plan(replace(world, now=strange))
    plan(replace(world, budget_bytes=few))
    plan(replace(world, models={}))
    plan(replace(world, residents=[*world.residents, *(replace(one, served=few, bytes=few) for one in world.residents)]))
