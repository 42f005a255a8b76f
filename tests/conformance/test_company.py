"""Every family of models that we recommend gives each request its solo answer, whoever is beside it and whatever was read before.

Fewer questions than :mod:`tests.conformance.test_text` asks, of more families:
layers that keep every token (Llama, Qwen 3), that look back only so far (Gemma 3),
that keep a state (Qwen 3.5), and positions in three dimensions (Qwen 3-VL).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from app.engines import text
from app.engines.ledger import KvAccount, KvLedger
from app.engines.pace import Pace
from app.engines.protocols import Prefilled, TextWork, Work
from tests.conformance.driver import Outcome, Run, run, same
from tests.conformance.subjects import Subject, poisoned

CACHE = 2**26
FAMILIES = ("llama-f32", "qwen3-f32", "gemma3-f32", "qwen3_5-f32", "qwen3_5_moe-f32", "qwen3_vl-f32")
# Where every layer keeps every token, a prompt may go on from any of them.
CUT_ANYWHERE = {"llama-f32", "qwen3-f32", "qwen3_vl-f32"}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, subject_named: Callable[[str], Subject]) -> Iterator[Subject]:
    """The text engine over one family."""
    subject = subject_named(request.param)
    yield subject
    subject.close_all()


def works(family: Subject, opening: int, count: int = 8) -> list[Work]:
    """Return requests of many lengths, cold and hot in turn, that begin alike with *opening* tokens."""
    begins = tuple(token for number in range(30, 60) for token in family.tokens(number))[:opening]
    sizes = (3, 30, 12, 7, 18, 1, 25, 10)
    return [family.work(n, prompt=(*begins, *family.tokens(n, sizes[n % 8])), size=10 + sizes[-n % 8] // 2) for n in range(count)]


def solo(family: Subject, each: list[Work]) -> list[Outcome]:
    engine = family.open()
    return [run(engine, work)[work.id] for work in each]


@pytest.mark.parametrize("opening", [0, 40, 200])
def test_eight_at_once_each_get_their_solo_answer_at_first_and_when_all_of_it_was_read_before(family: Subject, opening: int) -> None:
    each = works(family, opening)
    expected = solo(family, each)
    engine = family.open(cache_bytes=CACHE)
    for _ in range(2):
        for outcome, other in zip(run(engine, *each).values(), expected, strict=True):
            assert same(outcome, other)


def test_those_who_come_later_change_nothing_and_get_their_solo_answer(family: Subject) -> None:
    each = works(family, 40)
    one = Run(family.open(cache_bytes=CACHE, slots=5))
    for number, work in enumerate(each):
        one.add(work)
        for _ in range(number % 3):
            one.step()
    for outcome, other in zip(one.finish().values(), solo(family, each), strict=True):
        assert same(outcome, other)


def test_a_conversation_goes_on_from_what_was_said(family: Subject) -> None:
    engine = family.open(cache_bytes=CACHE)
    said: tuple[int, ...] = tuple(token for number in range(12) for token in family.tokens(number))
    known = 0
    for turn in range(4):
        work = family.work(turn, prompt=said, size=14)
        outcome = run(engine, work)[work.id]
        assert same(outcome, solo(family, [work])[0])
        read = outcome.finished.cached_tokens
        assert read == known if family.name in CUT_ANYWHERE else bool(read) == bool(turn)
        known = len(said) + len(outcome.ids)
        said = (*said, *outcome.ids, *family.tokens(90 + turn, 5))


def test_what_was_read_beside_others_is_as_good_as_what_was_read_alone(family: Subject) -> None:
    first = works(family, 0, 4)
    engine = family.open(cache_bytes=CACHE)
    run(engine, *first)
    longer: list[Any] = [family.work(n, prompt=(*work.prompt, *family.tokens(n + 40, 6))) for n, work in enumerate(first)]  # type: ignore[union-attr]
    for outcome, other in zip(run(engine, *longer).values(), solo(family, longer), strict=True):
        assert same(outcome, other)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "Pace", lambda **_: Pace(start=32, least=32, most=32))


def of_the_night(family: Subject, number: int, tokens: int, size: int = 10) -> Work:
    """Return work that nobody waits for."""
    prompt = tuple(token for part in range(40) for token in family.tokens(number + part))[:tokens]
    return replace(cast("TextWork", family.work(number, prompt=prompt, size=size)), patient=True)


def is_read(outcome: Outcome) -> bool:
    return any(isinstance(event, Prefilled) for event in outcome.events)


@pytest.mark.usefixtures("small_pieces")
def test_a_prompt_that_nobody_waits_for_rests_while_others_are_read_and_goes_on_unharmed(family: Subject) -> None:
    decodes, night = of_the_night(family, 0, 5, 60), of_the_night(family, 1, 300)
    short, long = family.work(2), family.work(3, prompt=tuple(token for part in range(90, 98) for token in family.tokens(part)))
    one = Run(family.open(cache_bytes=CACHE))
    one.add(decodes)
    one.step()
    one.add(night)
    for _ in range(3):
        one.step()
    for person in (short, long):
        one.add(person)
        while not one.outcomes[person.id].ids:
            one.step()
            assert night.id not in one.steps[-1]
        one.step()
        assert night.id in one.steps[-1]
    assert not is_read(one.outcomes[night.id])
    each = [decodes, night, short, long]
    for outcome, other in zip(one.finish().values(), solo(family, each), strict=True):
        assert same(outcome, other)
        assert outcome.finished.cached_tokens == 0


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("leaves", ["night", "person"])
def test_who_leaves_while_a_prompt_rests_harms_nobody(subject_named: Callable[[str], Subject], leaves: str) -> None:
    family = subject_named("qwen3-f32")
    ledger = KvLedger(10**9)
    one = Run(family.open(account=KvAccount(ledger, "m")))
    works = {"night": of_the_night(family, 0, 300), "person": replace(cast("TextWork", of_the_night(family, 5, 200)), patient=False)}
    for work in works.values():
        one.add(work)
        one.step()
        one.step()
    assert works["person"].id in one.steps[-1]
    assert works["night"].id not in one.steps[-1]
    one.cancel(works.pop(leaves).id)
    (left,) = works.values()
    assert same(one.finish()[left.id], solo(family, [left])[0])
    assert ledger.reserved_bytes == 0
    family.close_all()


@pytest.mark.usefixtures("small_pieces")
def test_a_prompt_that_rests_is_not_blamed_for_what_breaks_meanwhile(subject_named: Callable[[str], Subject]) -> None:
    family = subject_named("qwen3-f32")
    night, faulty, beside = of_the_night(family, 0, 300), family.work(2, faulty=True), family.work(3, size=40)
    one = Run(family.open(change=poisoned))
    one.add(night)
    one.step()
    one.step()
    one.add(faulty)
    while one.outcomes[faulty.id].end is None:
        one.step()
        assert night.id not in one.steps[-1]
    assert one.outcomes[faulty.id].error is not None
    one.add(beside)
    one.finish()
    assert any({night.id, beside.id} <= set(named) for named in one.steps)
    for work in (night, beside):
        assert same(one.outcomes[work.id], solo(family, [work])[0])
    family.close_all()


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("at_once", [1, 3])
def test_people_who_keep_coming_do_not_hold_up_a_prompt_for_ever(subject_named: Callable[[str], Subject], at_once: int) -> None:
    family = subject_named("qwen3-f32")
    one, night = Run(family.open()), of_the_night(family, 0, 1000)
    one.add(night)
    one.step()
    people: list[str] = []
    entered: set[tuple[str, ...]] = set()  # who together, while it rested
    while not is_read(one.outcomes[night.id]):
        while sum(one.outcomes[name].end is None for name in people) < at_once:
            person = family.work(10 + len(people), prompt=family.tokens(len(people), 24), size=1)
            one.add(person)
            people.append(person.id)
        one.step()
        assert len(one.steps) < 300
        if night.id not in one.steps[-1]:
            entered.add(tuple(one.steps[-1]))
    assert 8 <= len(entered) <= 30
    one.finish()
    family.close_all()
