"""Whose turn it is, with and without room."""

from __future__ import annotations

from collections.abc import Sequence

from app.engines.answer import Answer
from app.engines.kv_admission import KvAdmission
from app.engines.ledger import KvAccount, KvLedger
from app.engines.line import Line
from app.engines.protocols import Sampling, TextWork
from app.models.footprint import Footprint

# A token costs a byte, and a row nothing else: so a request of n tokens alone needs n bytes.
EACH_TOKEN_A_BYTE = Footprint(0, 0, context=1000, float_bytes=1, prompt_bytes_per_token=1)


class Silent:
    """A detokenizer of no text."""

    def push(self, token: int) -> str:
        return ""

    def finish(self) -> str:
        return ""


def answer(name: str, size: int = 1, *, alone: bool = False, extra: bool = False, patient: bool = False) -> Answer:
    work = TextWork(name, tuple(range(size)), 1, Sampling(0), alone=alone, extra=extra, patient=patient)
    return Answer(work, Silent, frozenset())


def line(*answers: Answer, slots: int = 4, limit: int | None = None) -> Line:
    made = Line(slots, KvAdmission(EACH_TOKEN_A_BYTE, KvAccount(KvLedger(limit), "tiny")))
    for one in answers:
        made.join(one)
    return made


def name_of(entered: Answer | None) -> str | None:
    return None if entered is None else entered.work.id


def enter_all(made: Line, running: Sequence[Answer] = ()) -> list[str]:
    """Let one after the other in, each of whom leaves before the next."""
    entered = []
    while (one := made.enter(running)) is not None:
        entered.append(one.work.id)
    return entered


def test_they_enter_in_the_order_they_came_and_what_ran_before_goes_first() -> None:
    made = line(answer("c"), answer("d"))
    made.rejoin([answer("a"), answer("b")])
    assert enter_all(made) == ["a", "b", "c", "d"]


def test_asking_changes_nothing() -> None:
    made = line(answer("giant", 50), answer("small"), limit=10)
    assert [name_of(made.next(())) for _ in range(20)] == ["small"] * 20


def test_nobody_passes_one_that_must_be_alone_or_enters_beside_it() -> None:
    suspect, other = answer("suspect", alone=True), answer("other")
    made = line(suspect, other)
    assert made.next([answer("running")]) is None
    assert made.enter(()) is suspect
    assert made.next([suspect]) is None


def test_smaller_ones_pass_one_without_room_eight_times_and_then_wait_for_it() -> None:
    ledger = KvLedger(10)
    ledger.reserve("another model", 8)
    kv = KvAdmission(EACH_TOKEN_A_BYTE, KvAccount(ledger, "tiny"))
    made = Line(4, kv)
    for one in (answer("giant", 5), *(answer(f"small{number}") for number in range(12))):
        made.join(one)
    for number in range(8):
        assert name_of(made.enter(())) == f"small{number}"
        kv.settle((), ())
    assert made.enter(()) is None
    ledger.release("another model")
    assert name_of(made.enter(())) == "giant"


def test_one_that_leaves_the_line_is_not_waited_for_any_more() -> None:
    ledger = KvLedger(10)
    ledger.reserve("another model", 8)
    made = Line(4, KvAdmission(EACH_TOKEN_A_BYTE, KvAccount(ledger, "tiny")))
    made.join(answer("giant", 5))
    assert made.enter(()) is None
    for size in (9, 10) * 4:
        ledger.reserve("another model", 8)
        ledger.reserve("another model", size)
    assert not ledger.reserve("a third", 1)
    made.leave("giant")
    ledger.reserve("another model", 8)
    assert ledger.reserve("a third", 1)


def test_further_answers_leave_a_quarter_of_the_slots() -> None:
    made = line(answer("further", extra=True), answer("first"))
    running = [answer(name) for name in ("a", "b", "c")]
    assert name_of(made.enter(running)) == "first"
    assert made.enter(running) is None
    assert name_of(made.enter(running[:2])) == "further"


def test_whom_nobody_waits_for_lets_others_pass_eight_times() -> None:
    made = line(answer("night", patient=True), *(answer(f"person {n}") for n in range(10)), answer("another night", patient=True))
    assert enter_all(made) == [*(f"person {n}" for n in range(8)), "night", "person 8", "person 9", "another night"]
    made = line(answer("further", extra=True), answer("night", patient=True))
    assert name_of(made.enter([answer(name) for name in ("a", "b", "c")])) == "night"  # the quarter is not kept free of it


def test_those_who_enter_with_one_step_need_room_and_slots_beside_each_other() -> None:
    made = line(*(answer(name, 4) for name in "abc"), limit=10)
    chosen: list[Answer] = []
    while (one := made.enter((), chosen)) is not None:
        chosen.append(one)
    assert [one.work.id for one in chosen] == ["a", "b"]
    made = line(answer("first"), answer("further", extra=True))
    chosen = [answer(name) for name in ("a", "b")]
    assert name_of(made.enter([answer("running")], chosen)) == "first"
    assert made.enter([answer("running")], chosen) is None


def test_nobody_passes_one_that_cannot_join_those_who_enter() -> None:
    made = line(answer("long", 5), answer("short"))
    assert made.enter((), [answer("chosen")], lambda one: one.work.id != "long") is None
    assert name_of(made.enter(())) == "long"


def test_while_nobody_can_give_it_room_nobody_waits_for_it_and_once_there_is_room_it_goes_first() -> None:
    ledger = KvLedger(10)
    made = Line(4, KvAdmission(EACH_TOKEN_A_BYTE, KvAccount(ledger, "tiny")))
    for one in (answer("giant", 50), answer("a"), answer("b")):
        made.join(one)
    assert name_of(made.enter(())) == "a"
    ledger.limit_bytes = 50
    assert name_of(made.enter(())) == "giant"
