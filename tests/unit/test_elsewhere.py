"""What one worker knows of the others, and for how long it goes by that."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest

from app.scheduler.elsewhere import Elsewhere, Stock
from app.scheduler.others import Asked, Peer
from app.scheduler.plans import Why

_STOCK = Stock({"m": 1}, frozenset({"n"}))
_FITS = Asked("m", need_bytes=1, head_at=0.0)
_LACKS = Asked("n", need_bytes=None, fetchable=True)


class Neighbours:
    """Other workers that say what a test has them say."""

    def __init__(self, *others: Peer, grants: bool = True) -> None:
        self.others = others
        self.away: Sequence[Peer] = ()
        self.grants = grants
        self.looks = 0
        self.aware: Collection[str] = ()
        self.told: Stock | None = None
        self.ended: list[str] = []

    def look(self) -> Sequence[Peer]:
        self.looks += 1
        return self.others

    def absent(self) -> Sequence[Peer]:
        return self.away

    def claim_load(self, model: str, aware: Collection[str]) -> bool:
        self.aware = aware
        return self.grants

    def end_load(self, model: str) -> None:
        self.ended.append(model)

    def tell(self, stock: Stock) -> None:
        self.told = stock


def seen(neighbours: Neighbours, *, remote: bool = False) -> Elsewhere:
    elsewhere = Elsewhere(neighbours, Peer("here", remote=remote, budget_bytes=9))
    elsewhere.look(lambda: _STOCK)
    return elsewhere


def test_a_worker_that_is_alone_takes_no_stock_unless_its_jobs_are_elsewhere() -> None:
    alone, far = Neighbours(), Neighbours()
    assert seen(alone).alone
    seen(far, remote=True)
    assert (alone.told, far.told) == (None, _STOCK)


def test_the_others_are_looked_at_once_a_second_and_when_there_is_news() -> None:
    neighbours = Neighbours()
    elsewhere = seen(neighbours)
    elsewhere.look(lambda: _STOCK)
    assert neighbours.looks == 1
    neighbours.others = (Peer("there"),)
    elsewhere.news()
    elsewhere.look(lambda: _STOCK)
    assert (neighbours.looks, elsewhere.alone, neighbours.told) == (2, False, _STOCK)


def test_who_goes_away_is_waited_for_by_who_cannot_serve_what_it_had() -> None:
    there = Peer("there", budget_bytes=99, has={"m": 50})
    neighbours = Neighbours(there)
    elsewhere = seen(neighbours)
    neighbours.others, neighbours.away = (), (there,)
    elsewhere.news()
    elsewhere.look(lambda: _STOCK)
    block = elsewhere.leave(replace(_FITS, need_bytes=50))
    assert (elsewhere.alone, block and block.reason, elsewhere.leave(_FITS)) == (False, Why.AWAITED_ELSEWHERE, None)


def test_a_load_that_another_has_claimed_is_left_to_him_for_a_second_even_by_who_seems_alone() -> None:
    elsewhere = seen(Neighbours(grants=False))
    before = time.time()
    assert not elsewhere.claim_load("m")
    block = elsewhere.leave(_FITS)
    assert block is not None
    assert block.reason == Why.LOADING_ELSEWHERE
    assert block.until is not None
    assert before < block.until <= time.time() + 1.0
    assert elsewhere.leave(_LACKS) is None


def test_a_claim_names_those_who_were_known_to_have_the_model() -> None:
    neighbours = Neighbours(Peer("there", resident=frozenset({"m"})), Peer("nowhere"))
    elsewhere = seen(neighbours)
    assert elsewhere.claim_load("m")
    assert neighbours.aware == {"there"}
    elsewhere.end_load("m")
    assert neighbours.ended == ["m"]


def test_a_worker_that_never_says_what_it_has_is_not_waited_for_longer_than_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    neighbours = Neighbours(Peer("silent", has=None))
    elsewhere = seen(neighbours)
    block = elsewhere.leave(_LACKS)
    assert block is not None
    assert block.reason == Why.ASKED_ELSEWHERE
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 11)
    elsewhere.news()
    elsewhere.look(lambda: _STOCK)
    assert elsewhere.leave(_LACKS) is None
