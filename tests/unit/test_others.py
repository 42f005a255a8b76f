"""Who of several workers serves a model: one scene for each rule, and what holds whatever they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from app.scheduler.others import KEEPS_UP_S, Asked, Peer, leave, unfit
from app.scheduler.plans import Why
from app.scheduler.world import Block

_NOW = 1_000_000.0
_MAIN = Peer("main", budget_bytes=4)
_SMALL = Peer("small", remote=True, budget_bytes=2)
_BIG = Peer("big", remote=True, budget_bytes=9)
_FITS = Asked("m", need_bytes=1, head_at=_NOW)
_LACKS = Asked("m", need_bytes=None, fetchable=True, head_at=_NOW)


def _with(peer: Peer, need_bytes: int, **more: object) -> Peer:
    return replace(peer, has={"m": need_bytes}, **more)  # type: ignore[arg-type]


def _without(peer: Peer) -> Peer:
    return replace(peer, fetches=frozenset({"m"}))


def _warm(peer: Peer, since: float = 0.0) -> Peer:
    return _with(peer, 1, warm={"m": since}, resident=frozenset({"m"}))


def test_a_worker_that_is_alone_leaves_nothing_to_anybody() -> None:
    for asked in (_FITS, _LACKS, replace(_FITS, need_bytes=99), replace(_FITS, broken=True)):
        assert leave(asked, _SMALL, []) is None
    assert unfit(_SMALL, []) == {}


def test_what_another_has_warm_is_not_loaded_until_it_does_not_keep_up() -> None:
    assert leave(_FITS, _MAIN, [_warm(_SMALL)]) == Block(Why.IN_MEMORY_ELSEWHERE, _NOW + KEEPS_UP_S)
    assert leave(replace(_FITS, load_s=20.0), _MAIN, [_warm(_SMALL)]) == Block(Why.IN_MEMORY_ELSEWHERE, _NOW + 20)
    # It came a moment ago, so what waited before that says nothing.
    assert leave(replace(_FITS, head_at=_NOW - 60), _MAIN, [_warm(_SMALL, _NOW)]) == Block(Why.IN_MEMORY_ELSEWHERE, _NOW + KEEPS_UP_S)
    both = [_warm(_SMALL, _NOW - 60), _warm(_BIG, _NOW - 1)]
    assert leave(replace(_FITS, head_at=_NOW - 60), _MAIN, both) == Block(Why.IN_MEMORY_ELSEWHERE, _NOW - 1 + KEEPS_UP_S)
    assert leave(replace(_FITS, head_at=None), _MAIN, [_warm(_SMALL)]) == Block(Why.IN_MEMORY_ELSEWHERE)
    leaving = replace(_warm(_SMALL), warm={})
    assert leave(_FITS, _MAIN, [leaving]) is None


def test_what_another_loads_is_waited_for_but_for_those_whom_nobody_else_can_serve() -> None:
    loading = _with(_SMALL, 1, loading=frozenset({"m"}))
    assert leave(_FITS, _MAIN, [loading]) == Block(Why.LOADING_ELSEWHERE)
    assert leave(replace(_FITS, inside=True), _MAIN, [loading]) is None


def test_what_is_too_large_here_is_left_to_one_with_files_and_memory_else_to_one_with_memory() -> None:
    large = Asked("m", need_bytes=6)
    assert leave(large, _MAIN, [_with(_BIG, 6)]) == Block(Why.SERVED_ELSEWHERE)
    assert leave(large, _MAIN, [_without(_BIG)]) == Block(Why.DOWNLOADING_ELSEWHERE)
    assert leave(large, _MAIN, [_without(_SMALL)]) is None, "it fails with the numbers"
    assert leave(large, _BIG, [_with(_MAIN, 10)]) is None
    assert leave(large, _MAIN, [replace(_BIG, has=None)]) == Block(Why.ASKED_ELSEWHERE)


def test_what_fits_nowhere_fails_with_the_numbers_of_the_largest() -> None:
    huge = Asked("m", need_bytes=20)
    assert leave(huge, _BIG, [_with(_MAIN, 20), _SMALL]) is None
    assert leave(huge, _MAIN, [_with(_BIG, 20)]) == Block(Why.SERVED_ELSEWHERE)
    assert leave(replace(huge, inside=True), _MAIN, [_with(_BIG, 20)]) is None
    assert leave(replace(_LACKS, fetchable=False), _MAIN, [_with(_BIG, 20)]) == Block(Why.SERVED_ELSEWHERE)
    assert leave(replace(_LACKS, fetchable=False), _MAIN, [_SMALL]) is None


def test_what_only_an_absent_one_could_hold_waits_for_it() -> None:
    huge, away = Asked("m", need_bytes=9), [_with(_BIG, 9)]
    assert leave(huge, _MAIN, [], away) == leave(huge, _MAIN, [_with(_SMALL, 9)], away) == Block(Why.AWAITED_ELSEWHERE)
    assert leave(replace(_LACKS, fetchable=False), _MAIN, [], away) == Block(Why.AWAITED_ELSEWHERE)
    for asked in (_LACKS, _FITS, replace(_FITS, broken=True), replace(huge, inside=True), replace(huge, need_bytes=20)):
        assert leave(asked, _MAIN, [], [_with(_BIG, asked.need_bytes or 1)]) is None


def test_of_those_who_lack_the_files_the_machine_with_the_jobs_downloads_and_else_the_one_with_most_memory() -> None:
    assert leave(_LACKS, _MAIN, [_without(_BIG)]) is None
    assert leave(_LACKS, _BIG, [_without(_MAIN)]) == Block(Why.DOWNLOADING_ELSEWHERE)
    assert leave(_LACKS, _BIG, [_without(_SMALL)]) is None
    assert leave(_LACKS, _SMALL, [_without(_BIG)]) == Block(Why.DOWNLOADING_ELSEWHERE)
    assert leave(_LACKS, _MAIN, [_with(_SMALL, 2)]) == Block(Why.SERVED_ELSEWHERE)
    # The machine with the jobs has it and cannot hold it.
    assert leave(_LACKS, _BIG, [_with(_MAIN, 6), _without(_SMALL)]) is None
    assert leave(_LACKS, _SMALL, [_with(_MAIN, 6), _without(_BIG)]) == Block(Why.DOWNLOADING_ELSEWHERE)


def test_what_failed_to_load_here_is_left_to_one_who_can_load_it() -> None:
    broken = replace(_FITS, broken=True)
    assert leave(broken, _MAIN, [_with(_SMALL, 1)]) == Block(Why.SERVED_ELSEWHERE)
    assert leave(broken, _MAIN, [_without(_SMALL)]) == Block(Why.DOWNLOADING_ELSEWHERE)
    assert leave(broken, _MAIN, [_SMALL]) is None


def test_a_job_that_may_come_to_anybody_is_left_to_one_who_can_run_it() -> None:
    assert unfit(_with(_MAIN, 6), [_with(_BIG, 6)]) == {"m": "room"}
    assert unfit(_without(_MAIN), [_with(_BIG, 6)]) == {"m": "files"}
    assert unfit(_with(_MAIN, 1), [_with(_BIG, 1)]) == {}
    assert unfit(_with(_MAIN, 6), [_with(_SMALL, 6)]) == {}
    assert unfit(_SMALL, [_without(_MAIN)]) == {"m": "files"}, "its catalog does not know the model"
    assert unfit(_without(_SMALL), [_without(_MAIN)]) == {}


@dataclass(frozen=True)
class _Site:
    """One worker and what is so of one model there."""

    peer: Peer
    broken: bool

    @property
    def said(self) -> Peer:
        return replace(self.peer, has={}) if self.broken else self.peer

    @property
    def asked(self) -> Asked:
        need = (self.peer.has or {}).get("m")
        return Asked("m", need, self.broken, fetchable="m" in self.peer.fetches, head_at=_NOW)

    @property
    def fits(self) -> bool:
        return not self.broken and self.peer.holds("m")


@st.composite
def _sites(draw: st.DrawFn) -> list[_Site]:
    """At most one of them is where the jobs are; few sizes, so that ties happen."""
    main = draw(st.sampled_from([None, 0]))
    found = []
    for number in range(draw(st.integers(1, 4))):
        need = draw(st.sampled_from([None, None, 1, 3]))
        peer = Peer(str(number), remote=number != main, budget_bytes=draw(st.sampled_from([1, 2, 3])))
        peer = replace(
            peer, has={} if need is None else {"m": need}, fetches=frozenset({"m"} if need is None and draw(st.booleans()) else ())
        )
        state = draw(st.sampled_from(["absent", "absent", "loading", "warm"])) if peer.holds("m") else "absent"
        if state == "loading":
            peer = replace(peer, loading=frozenset({"m"}))
        if state == "warm":
            peer = replace(peer, warm={"m": _NOW - 100}, resident=frozenset({"m"}))
        found.append(_Site(peer, broken=state == "absent" and need is not None and draw(st.booleans())))
    return found


def _decide(sites: Sequence[_Site]) -> dict[str, Block | None]:
    """Return what each decides that has not the model in memory or on its way there."""
    return {
        site.peer.id: leave(site.asked, site.peer, [other.said for other in sites if other is not site]) for site in sites if not _has(site)
    }


def _has(site: _Site) -> bool:
    return bool(site.peer.loading or site.peer.resident)


_many = settings(max_examples=300, deadline=None)


@_many
@given(_sites())
def test_while_one_has_a_model_no_other_loads_it_for_a_job_that_came_just_now(sites: list[_Site]) -> None:
    assume(any(map(_has, sites)))
    for name, block in _decide(sites).items():
        assert block is not None, name
        assert block.until is None or block.until >= _NOW + KEEPS_UP_S


@_many
@given(_sites())
def test_nothing_feasible_is_left_to_nobody_and_nobody_refuses_it(sites: list[_Site]) -> None:
    decided = _decide(sites)
    if any(map(_has, sites)):
        return
    able = [site for site in sites if site.fits]
    mine = {name for name, block in decided.items() if block is None}
    if able:
        event("some can load it")
        assert mine == {site.peer.id for site in able}, "these may claim the load, and no other lets its jobs through to fail"
        return
    assert mine, "somebody downloads it, or says why it cannot be"
    known = [site.asked.need_bytes for site in sites if site.asked.need_bytes is not None and not site.broken]
    fetching = [site for site in sites if site.asked.fetchable and site.peer.budget_bytes and site.peer.affords(max(known, default=0))]
    healthy = {site.peer.id for site in sites if not site.broken}
    if fetching and any(not site.peer.remote for site in fetching):
        event("the main machine downloads")
        assert mine & healthy == {"0"}
    elif fetching:
        event("one of several downloads")
        assert len(mine & healthy) == 1
    if fetching:
        assert mine & healthy <= {site.peer.id for site in fetching}


@_many
@given(_sites(), st.integers(0, 3))
def test_the_models_of_a_worker_that_died_are_taken_over(sites: list[_Site], number: int) -> None:
    left = [site for site in sites if site.peer.id != str(number)]
    assume(any(site.fits for site in left))
    decided = _decide(left)
    assert any(map(_has, left)) or any(decided[site.peer.id] is None for site in left if site.fits)


@_many
@given(_sites())
def test_a_job_that_may_come_to_anybody_is_not_handed_round_for_ever(sites: list[_Site]) -> None:
    said = [site.said for site in sites]
    handing = {one.id: "m" in unfit(one, [other for other in said if other is not one]) for one in said}
    assert not all(handing.values())
    for one in said:
        assert not (one.holds("m") and handing[one.id])


@_many
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["look", "decide", "decide", "arrive", "take"])), max_size=30))
def test_one_waiting_job_is_one_load_however_old_the_news_of_each_worker_is(steps: list[tuple[int, str]]) -> None:
    """Claims are as in workers.lua: refused while another loads, and where one has the model that the claimant has not heard of."""
    truth = [_with(Peer(str(number), budget_bytes=2), 1) for number in range(3)]
    views: list[list[Peer]] = [[other for other in truth if other is not one] for one in truth]
    waits, loads = True, 0
    for number, verb in steps:
        here, others = truth[number], [one for one in truth if one is not truth[number]]
        if verb == "look":
            views[number] = others
        if verb == "decide" and waits and not here.loading and not here.resident and leave(_FITS, here, views[number]) is None:
            aware = {one.id for one in views[number] if one.resident}
            if not any(one.loading or (one.resident and one.id not in aware) for one in others):
                loads += 1
                truth[number] = replace(here, loading=frozenset({"m"}))
        if verb == "arrive" and here.loading:
            truth[number] = replace(_warm(here, _NOW), loading=frozenset())
        if verb == "take" and here.resident:
            waits = False
    assert loads <= 1
