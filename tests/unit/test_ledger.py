"""The ledger: never more than the limit, caches first, nobody overtaken for ever."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.engines.ledger import KvLedger

OWNERS = st.sampled_from(["a", "b", "c"])
SIZES = st.integers(0, 12)
LIMIT = 20


class Cache:
    """A prefix cache that is full, and of which *leased* bytes are in use and cannot go."""

    def __init__(self, leased: int = 0) -> None:
        self.kept = 0
        self.leased = leased

    def shrink(self, most_bytes: int) -> int:
        self.kept = max(self.leased, min(self.kept, most_bytes))
        return self.kept

    def borrow(self, ledger: KvLedger, owner: str, most_bytes: int) -> None:
        self.kept = ledger.lend(owner, most_bytes, self.shrink)


def test_without_a_limit_everything_fits() -> None:
    ledger = KvLedger()
    assert ledger.reserve("a", 10**15)
    assert ledger.lend("a", 10**12, lambda most: most) == 10**12


def test_a_reservation_takes_the_place_of_the_one_before_it() -> None:
    ledger = KvLedger(LIMIT)
    assert ledger.reserve("a", 15)
    assert not ledger.reserve("b", 6)
    assert ledger.reserve("a", 14)
    assert ledger.reserve("b", 6)
    assert ledger.free_bytes == 0


def test_caches_give_way_the_owners_last() -> None:
    ledger, mine, other = KvLedger(LIMIT), Cache(), Cache()
    mine.borrow(ledger, "a", 5)
    other.borrow(ledger, "b", 5)
    assert ledger.reserve("a", 13)
    assert (mine.kept, other.kept) == (5, 2)
    assert ledger.reserve("a", 20)
    assert (mine.kept, other.kept, ledger.lent_bytes) == (0, 0, 0)


def test_a_cache_in_use_keeps_what_it_must_and_the_reservation_waits() -> None:
    ledger, cache = KvLedger(LIMIT), Cache(leased=3)
    cache.borrow(ledger, "b", 8)
    assert not ledger.reserve("a", 18)
    assert (cache.kept, ledger.reserved_bytes) == (3, 0)
    cache.leased = 0
    assert ledger.reserve("a", 18)


def test_a_cache_borrows_no_more_than_is_free() -> None:
    ledger, cache = KvLedger(LIMIT), Cache()
    ledger.reserve("a", 16)
    cache.borrow(ledger, "a", 10)
    assert cache.kept == 4


def test_a_lower_limit_calls_caches_in_and_lets_requests_end() -> None:
    ledger, cache = KvLedger(LIMIT), Cache()
    ledger.reserve("a", 12)
    cache.borrow(ledger, "a", 8)
    ledger.limit_bytes = 10
    assert (cache.kept, ledger.reserved_bytes, ledger.free_bytes) == (0, 12, 0)
    assert ledger.reserve("a", 11)
    assert not ledger.reserve("a", 12)


def test_a_claim_is_overtaken_eight_times_by_anybody_then_all_wait_for_it() -> None:
    ledger = KvLedger(LIMIT)
    ledger.reserve("a", 4)
    ledger.claim("a", 18)
    for size in range(1, 9):
        assert ledger.may_overtake("a")
        assert ledger.reserve("b", size)
    assert not ledger.may_overtake("a")
    assert not ledger.reserve("b", 9)
    assert not ledger.reserve("a", 5)
    assert ledger.reserve("b", 2)
    assert ledger.reserve("a", 18, claimed=True)
    assert not ledger.reserve("b", 3)
    assert ledger.reserve("a", 0)
    assert ledger.reserve("b", 3)


def test_nobody_waits_for_a_claim_that_the_limit_is_too_low_for() -> None:
    ledger = KvLedger(LIMIT)
    ledger.claim("a", LIMIT + 1)
    for size in range(1, 20):
        assert ledger.reserve("b", size)
    ledger.limit_bytes = LIMIT + 1
    assert not ledger.reserve("b", 20)


def test_a_claim_that_is_withdrawn_holds_nobody_up() -> None:
    ledger = KvLedger(LIMIT)
    ledger.claim("a", 20)
    for size in range(1, 9):
        ledger.reserve("b", size)
    ledger.withdraw("a")
    assert ledger.reserve("b", 9)


class Books(RuleBasedStateMachine):
    """Anything that engines may do, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = KvLedger(LIMIT)
        self.caches = {name: Cache() for name in "abc"}

    @rule(owner=OWNERS, size=SIZES, claimed=st.booleans())
    def reserve(self, owner: str, size: int, *, claimed: bool) -> None:
        fits = self.ledger.fits(owner, size, claimed=claimed)
        assert self.ledger.reserve(owner, size, claimed=claimed) == fits

    @rule(owner=OWNERS, size=SIZES)
    def claim(self, owner: str, size: int) -> None:
        self.ledger.claim(owner, size)

    @rule(owner=OWNERS, size=SIZES)
    def lend(self, owner: str, size: int) -> None:
        self.caches[owner].borrow(self.ledger, owner, size)

    @rule(owner=OWNERS, leave=st.sampled_from([KvLedger.withdraw, KvLedger.release]))
    def leave(self, owner: str, leave: Callable[[KvLedger, str], None]) -> None:
        leave(self.ledger, owner)
        if leave is KvLedger.release:
            self.caches[owner].kept = 0

    @invariant()
    def nothing_is_promised_twice(self) -> None:
        assert self.ledger.reserved_bytes + sum(cache.kept for cache in self.caches.values()) <= LIMIT
        assert self.ledger.reserved_bytes + self.ledger.lent_bytes + self.ledger.free_bytes == LIMIT


TestBooks = Books.TestCase


@given(st.lists(st.tuples(OWNERS, st.integers(1, 12)), max_size=60), OWNERS, st.integers(13, LIMIT))
def test_a_giant_gets_its_turn_whatever_comes_after_it(requests: list[tuple[str, int]], owner: str, giant: int) -> None:
    ledger = KvLedger(LIMIT)
    ledger.reserve("b" if owner == "a" else "a", LIMIT - giant + 1)
    ledger.claim(owner, giant)
    overtaken = sum(ledger.reserve(f"{name}{number}", size) for number, (name, size) in enumerate(requests))
    assert overtaken <= 8
    for number, (name, _) in enumerate(requests):
        ledger.release(f"{name}{number}")
    ledger.release("b" if owner == "a" else "a")
    assert ledger.reserve(owner, giant, claimed=True)
