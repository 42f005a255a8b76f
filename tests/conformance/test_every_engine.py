"""What the scheduler may expect of any engine."""

from __future__ import annotations

import gc
from dataclasses import replace

import mlx.core as mx
import pytest

from app.engines.protocols import EmbeddingWork, Engine, Sampling, TextWork
from app.errors import EngineFailed
from tests.conformance.driver import Outcome, Run, run, same
from tests.conformance.subjects import Subject, poisoned, with_nan


def solo(subject: Subject, *numbers: int) -> list[Outcome]:
    """Run each work by itself, on an engine of its own."""
    outcomes: list[Outcome] = []
    for number in numbers:
        engine = subject.open()
        outcomes.extend(run(engine, subject.work(number)).values())
        subject.close(engine)
    return outcomes


def test_a_load_comes_in_slices_and_ends_with_one_engine(subject: Subject) -> None:
    frontend = subject.frontend(slots=3)
    *slices, engine = frontend.open()
    assert slices
    assert all(nothing is None for nothing in slices)
    assert engine is not None
    assert engine.slots == frontend.slots == 3
    assert not engine.has_work
    assert not engine.step()
    engine.close()


def test_a_load_given_up_half_way_leaves_nothing(subject: Subject) -> None:
    before = active_bytes()
    loading = subject.frontend().open()
    assert next(loading) is None
    del loading
    assert active_bytes() <= before


def test_company_changes_no_answer(subject: Subject) -> None:
    together = run(subject.open(), *(subject.work(number) for number in range(8)))
    for one, other in zip(together.values(), solo(subject, *range(8)), strict=True):
        assert same(one, other)


def test_work_that_comes_while_others_run_gets_the_same_answer(subject: Subject) -> None:
    one = Run(subject.open(slots=3))
    late = iter(subject.work(number) for number in range(1, 8))
    one.add(subject.work(0))
    while one.engine.has_work:
        one.step()
        if (work := next(late, None)) is not None:
            one.add(work)
    for outcome, expected in zip(one.finish().values(), solo(subject, *range(8)), strict=True):
        assert same(outcome, expected)


def test_an_engine_takes_no_more_at_once_than_it_has_slots(subject: Subject) -> None:
    one = Run(subject.open(slots=2))
    one.add(*(subject.work(number, size=4 + number) for number in range(6)))
    begun: set[str] = set()
    most = 0
    while one.engine.has_work:
        inside = {name for name in begun if one.outcomes[name].end is None}
        one.step()
        begun.update(one.steps[-1])
        most = max(most, len(inside | set(one.steps[-1])))
    assert most == 2


def test_work_begins_in_the_order_it_came(subject: Subject) -> None:
    one = Run(subject.open(slots=2))
    works = [subject.work(number) for number in range(6)]
    one.add(*works)
    one.finish()
    begun = list(dict.fromkeys(name for named in one.steps for name in named))
    assert begun == [work.id for work in works]


def test_what_nobody_waits_for_lets_the_others_go_first(subject: Subject) -> None:
    one = Run(subject.open(slots=4))
    one.add(*(replace(subject.work(number), patient=True) for number in range(3)))
    one.step()
    one.add(subject.work(3))
    one.step()
    assert "work-3" in one.steps[-1]
    for outcome, expected in zip(one.finish().values(), solo(subject, 0, 1, 2, 3), strict=True):
        assert same(outcome, expected)


def test_what_must_be_alone_shares_no_step_and_no_answer_changes(subject: Subject) -> None:
    one = Run(subject.open())
    one.add(subject.work(0), subject.work(1, alone=True), subject.work(2), subject.work(3, alone=True))
    outcomes = one.finish()
    for named in one.steps:
        assert len(named) == 1 or not {"work-1", "work-3"} & set(named)
    order = list(dict.fromkeys(name for named in one.steps for name in named))
    assert order == ["work-0", "work-1", "work-2", "work-3"]
    for outcome, expected in zip(outcomes.values(), solo(subject, 0, 1, 2, 3), strict=True):
        assert same(outcome, expected)


def test_cancelling_at_any_moment_leaves_no_trace_and_no_neighbour_notices(subject: Subject) -> None:
    engine = subject.open(slots=2)
    expected = solo(subject, 0, 2, 3)
    phases = 0
    while True:
        one = Run(engine)
        one.add(subject.work(0), subject.work(1), subject.work(2))
        for _ in range(phases):
            if one.engine.has_work:
                one.step()
        over = one.outcomes["work-1"].end is not None
        one.cancel("work-1")
        assert "work-1" not in engine.stepping()
        one.add(subject.work(3))
        for outcome, other in zip(one.finish().values(), expected, strict=True):
            assert same(outcome, other)
        if over:
            break
        phases += 1


def test_cancelling_the_last_work_leaves_nothing_to_do(subject: Subject) -> None:
    one = Run(subject.open())
    one.add(subject.work(1))
    one.step()
    one.cancel("work-1")
    assert not one.engine.has_work


def test_cancelling_what_is_unknown_is_ignored(subject: Subject) -> None:
    engine = subject.open()
    engine.cancel("nobody")
    one = Run(engine)
    one.add(subject.work(0))
    engine.cancel("nobody")
    (outcome,) = one.finish().values()
    assert outcome.error is None


def test_a_request_that_breaks_the_model_fails_by_itself(subject: Subject) -> None:
    engine = subject.open(change=poisoned)
    works = [subject.work(number, faulty=number in {2, 5}) for number in range(8)]
    outcomes = run(engine, *works)
    expected = solo(subject, *(number for number in range(8) if number not in {2, 5}))
    for number in (2, 5):
        error = outcomes.pop(f"work-{number}").error
        assert isinstance(error, EngineFailed)
        assert "this model breaks on that token" in error.message
    for outcome, other in zip(outcomes.values(), expected, strict=True):
        assert same(outcome, other)
    assert same(run(engine, subject.work(0))["work-0"], expected[0])


def test_a_request_that_gives_no_finite_numbers_fails_by_itself(subject: Subject) -> None:
    engine = subject.open(change=with_nan)
    outcomes = run(engine, *(subject.work(number, faulty=number == 3) for number in range(6)))
    error = outcomes.pop("work-3").error
    assert isinstance(error, EngineFailed)
    assert "not finite" in error.message
    for outcome, other in zip(outcomes.values(), solo(subject, 0, 1, 2, 4, 5), strict=True):
        assert same(outcome, other)


def test_closing_gives_all_memory_back_also_amid_work(subject: Subject) -> None:
    # What the library keeps for itself, once per process, is there after the first engine.
    use_and_close(subject, steps=2)
    before = active_bytes()
    for steps in (0, 1, 5, 10**6):
        use_and_close(subject, steps=steps)
        assert active_bytes() <= before


def test_memory_does_not_grow_with_the_work_done(subject: Subject) -> None:
    engine = subject.open()
    run(engine, *(subject.work(number) for number in range(4)))
    before = active_bytes()
    for _ in range(4):
        run(engine, *(subject.work(number) for number in range(4)))
        assert active_bytes() <= before * 1.01


def test_work_of_another_kind_is_refused(subject: Subject) -> None:
    other = EmbeddingWork("x", ((1,),)) if subject.kind != "embedding" else TextWork("x", (1,), 1, Sampling(seed=1))
    with pytest.raises(TypeError):
        subject.open().add(other)


def use_and_close(subject: Subject, *, steps: int) -> None:
    engine: Engine = subject.open(cache_bytes=2**24)
    for number in range(4):
        engine.add(subject.work(number))
    for _ in range(steps):
        if not engine.has_work:
            break
        engine.step()
    subject.close(engine)


def active_bytes() -> int:
    gc.collect()
    mx.synchronize()
    mx.clear_cache()
    return int(mx.get_active_memory())
