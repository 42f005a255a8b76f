"""Answers enter when there is room for all that they may keep; nobody is refused who could be served, and nobody starves."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import cast

import mlx.core as mx
import pytest

from app.engines.faults import RequestTooLarge
from app.engines.ledger import KvAccount, KvLedger
from app.engines.protocols import Failed, KeepsRequests, TextWork, Work
from tests.conformance.driver import Run, run, same
from tests.conformance.subjects import Subject, poisoned

CACHE = 2**22
MODELS = ("qwen3-f32", "qwen3_5-f32", "gemma3-f32")
# Logits and tokens of the rows, states of their sampling: what is alive between two steps beside weights and caches.
BETWEEN_STEPS = 2**18


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]) -> Iterator[Subject]:
    subject = Subject(request.param, tiny_model(request.param))
    yield subject
    subject.close_all()


@pytest.fixture
def qwen3(tiny_model: Callable[[str], Path]) -> Iterator[Subject]:
    subject = Subject("qwen3-f32", tiny_model("qwen3-f32"))
    yield subject
    subject.close_all()


def chat(subject: Subject, number: int) -> Work:
    """The chat *number*: of a short, middle or long prompt, with a short or long answer."""
    words = tuple(token for part in range(40) for token in subject.tokens(part))
    start, length = number * 5 % 100, (20, 60, 250, 500)[number % 4]
    return subject.work(number, prompt=words[start : start + length], size=(4, 12, 30)[number % 3])


def room_for(subject: Subject, rows: int, tokens: int = 530) -> int:
    return subject.footprint.batch_bytes(tokens, rows, tokens)


def run_below(limit: int, subject: Subject, works: Sequence[Work]) -> Run:
    """Run *works* under a ledger of *limit* bytes, holding memory against it after every step and in between."""
    ledger = KvLedger(limit)
    engine = subject.open(cache_bytes=CACHE, account=KvAccount(ledger, "tiny", most_bytes=limit))
    one = Run(engine)
    one.add(subject.work(999, size=1))  # the weights of a test's engine are read when they are first used
    one.finish()
    one.outcomes.clear()
    one.steps.clear()
    ledger.limit_bytes = 0  # nor is anything kept of that request
    ledger.limit_bytes = limit
    before = active_bytes()
    mx.reset_peak_memory()

    def look() -> None:
        mx.synchronize()
        assert int(mx.get_active_memory()) <= before + limit + BETWEEN_STEPS
        assert ledger.reserved_bytes + ledger.lent_bytes <= limit

    one.add(*works)
    one.finish(look)
    assert int(mx.get_peak_memory()) <= before + limit + subject.footprint.activation_bytes
    assert ledger.reserved_bytes == 0
    return one


@pytest.mark.parametrize(
    "model",
    [pytest.param(each, marks=[pytest.mark.slow] if each.startswith(("gemma3", "qwen3_5")) else []) for each in MODELS],
    indirect=True,
)
def test_a_hundred_chats_over_budget_are_all_answered_as_ever_and_memory_stays_below_it(model: Subject) -> None:
    works = [chat(model, number) for number in range(100)]
    expected = run(model.open(), *works)
    one = run_below(room_for(model, rows=4), model, works)
    assert max(len(step) for step in one.steps) > 4
    assert all(same(one.outcomes[work.id], expected[work.id]) for work in works)


@pytest.mark.parametrize("opening", [0, 30])
@pytest.mark.parametrize("name", ["llama-f32", "qwen3-f32"])
def test_short_prompts_enter_together_where_there_is_room_for_all_of_them_and_are_answered_as_ever(
    tiny_model: Callable[[str], Path], name: str, opening: int
) -> None:
    subject = Subject(name, tiny_model(name))
    begins = tuple(token for part in range(4) for token in subject.tokens(part))[:opening]
    works = [subject.work(n, prompt=(*begins, *subject.tokens(n, 3 + n % 9)), size=(4, 30, 12)[n % 3]) for n in range(60)]
    expected = run(subject.open(), *works)
    one = run_below(room_for(subject, rows=6, tokens=100), subject, works)
    assert max(len(set(after) - set(before)) for before, after in pairwise(one.steps)) > 1
    assert max(len(step) for step in one.steps) < 10
    assert all(same(one.outcomes[work.id], expected[work.id]) for work in works)
    subject.close_all()


def test_a_giant_is_overtaken_eight_times_and_then_waited_for(qwen3: Subject) -> None:
    ledger = KvLedger(room_for(qwen3, rows=3))
    one = Run(qwen3.open(account=KvAccount(ledger, "tiny")))
    one.add(qwen3.work(0, size=400))
    one.step()
    giant = qwen3.work(1, size=1200)
    one.add(giant, *(qwen3.work(number, size=4) for number in range(2, 40)))
    one.finish()
    began = list(dict.fromkeys(name for step in one.steps for name in step))
    assert began.index("work-1") == 9
    assert all(outcome.error is None for outcome in one.outcomes.values())
    assert same(one.outcomes["work-1"], run(qwen3.open(), giant)["work-1"])


def test_a_request_that_no_eviction_makes_room_for_is_refused_with_numbers_and_the_others_are_not(qwen3: Subject) -> None:
    most = room_for(qwen3, rows=1)
    engine = qwen3.open(account=KvAccount(KvLedger(most), "tiny", most_bytes=most))
    giant = qwen3.work(1, size=3000)
    engine.add(giant)
    engine.add(qwen3.work(2, size=2))
    assert engine.has_work
    (refused,) = [event for event in engine.step() if isinstance(event, Failed)]
    assert refused.id == "work-1"
    error = cast("RequestTooLarge", refused.error)
    assert (error.code, error.budget_bytes) == ("request_too_large", most)
    assert error.need_bytes == qwen3.footprint.one_request_bytes(len(qwen3.tokens(1)), 3000)
    assert engine.stepping() == ["work-2"]


def test_a_request_for_which_others_must_leave_says_how_much_it_wants_and_enters_when_it_has_that(qwen3: Subject) -> None:
    ledger = KvLedger(room_for(qwen3, rows=1))
    engine = qwen3.open(account=KvAccount(ledger, "tiny", most_bytes=room_for(qwen3, rows=20)))
    assert isinstance(engine, KeepsRequests)
    one = Run(engine)
    one.add(qwen3.work(1, size=2000), qwen3.work(2, size=5))
    one.step()
    need = qwen3.footprint.one_request_bytes(len(qwen3.tokens(1)), 2000)
    assert engine.wanted_bytes == need - ledger.limit_bytes
    assert one.steps[0] == ["work-2"]
    ledger.limit_bytes += engine.wanted_bytes
    outcomes = one.finish()
    assert engine.wanted_bytes == 0
    assert len(outcomes["work-1"].ids) > 0


def test_a_prefix_cache_leaves_for_a_request_of_another_model(qwen3: Subject) -> None:
    ledger = KvLedger(room_for(qwen3, rows=2))
    busy = qwen3.open(account=KvAccount(ledger, "busy"))
    run(busy, qwen3.work(50, size=1))
    idle = qwen3.open(cache_bytes=CACHE, account=KvAccount(ledger, "idle"))
    run(idle, qwen3.work(50, size=1))
    before = active_bytes()
    run(idle, *(chat(qwen3, number) for number in (2, 3, 6, 7)))
    kept = active_bytes() - before
    assert (ledger.reserved_bytes, ledger.free_bytes) == (0, 0)
    size = next(size for size in range(4000, 0, -1) if qwen3.footprint.one_request_bytes(12, size) <= ledger.limit_bytes)
    one = Run(busy)
    one.add(qwen3.work(51, prompt=qwen3.tokens(51)[:12], size=size))
    one.step()
    assert ledger.lent_bytes < 4096
    one.cancel("work-51")
    assert active_bytes() - before < kept / 10
    qwen3.close(idle)
    qwen3.close(busy)
    assert ledger.free_bytes == ledger.limit_bytes


def test_what_is_cancelled_or_fails_holds_nothing(qwen3: Subject) -> None:
    ledger = KvLedger(room_for(qwen3, rows=3))
    one = Run(qwen3.open(change=poisoned, account=KvAccount(ledger, "tiny")))
    one.add(qwen3.work(1, size=50), qwen3.work(2, faulty=True, size=50), qwen3.work(3, size=1500))
    for _ in range(6):
        one.step()
    one.cancel("work-3")
    one.cancel("work-1")
    one.finish()
    assert ledger.reserved_bytes == 0
    assert not one.outcomes["work-2"].ids


def test_whoever_is_waited_for_enters_first_and_is_not_read_together_with_those_who_are_not(qwen3: Subject) -> None:
    engine = qwen3.open()
    for number in (1, 2):
        engine.add(replace(cast("TextWork", qwen3.work(number, size=9)), patient=True))
    engine.add(qwen3.work(3, size=9))
    assert engine.stepping() == ["work-3"]
    engine.step()
    assert engine.stepping() == ["work-3", "work-1", "work-2"]


def test_one_that_is_cancelled_before_it_enters_gives_back_its_room_and_not_that_of_those_who_enter(qwen3: Subject) -> None:
    ledger = KvLedger(room_for(qwen3, rows=4))
    engine = qwen3.open(account=KvAccount(ledger, "tiny"))
    engine.add(qwen3.work(1, size=50))
    engine.add(qwen3.work(2, size=9))
    assert engine.stepping() == ["work-1", "work-2"]
    engine.cancel("work-1")
    assert ledger.reserved_bytes == qwen3.footprint.one_request_bytes(len(qwen3.tokens(2)), 9)
    assert engine.stepping() == ["work-2"]
    engine.cancel("work-2")
    assert ledger.reserved_bytes == 0
    assert not engine.has_work


def active_bytes() -> int:
    gc.collect()
    mx.synchronize()
    mx.clear_cache()
    return int(mx.get_active_memory())
