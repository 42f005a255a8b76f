"""What this worker knows of the others of its Redis, and tells them of itself. The decisions are :mod:`app.scheduler.others`'.

For the conductor's thread; :meth:`Elsewhere.news` and what is marked so may be
used by any. A worker that is alone with its jobs looks round once a second at
most, and says nothing of what it has: nobody would read it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from app.scheduler.others import Asked, Peer, leave, unfit
from app.scheduler.plans import Why
from app.scheduler.world import Block

__all__ = ["Elsewhere", "Peers", "Stock"]

_LOOK_EVERY_S = 1.0  # changes are told, but a worker may end without a word
_STOCK_EVERY_S = 10.0  # files come and go without anybody's telling
_ABSENT_EVERY_S = 30.0  # as often as a worker that is away may be forgotten; whoever goes is seen at once
_REFUSED_S = 1.0  # for so long a load that another had claimed is not tried again
_SILENT_S = 10.0  # a worker that says nothing of what it has for so long has nothing


class Peers(Protocol):
    """The other workers, as the scheduler knows them."""

    def look(self) -> Sequence[Peer]:
        """Return those that live.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        ...

    def absent(self) -> Sequence[Peer]:
        """Return those that do not live, and may come back.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        ...

    def claim_load(self, model: str, aware: Collection[str]) -> bool:
        """Take the load of a model; refused while another loads it, or has it in memory and is none of *aware*.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        ...

    def end_load(self, model: str) -> None:
        """Note that a load that may have been claimed is over: what came of it has been reported."""
        ...

    def tell(self, stock: Stock) -> None:
        """Tell them what is here. Must not wait."""
        ...


@dataclass(frozen=True, slots=True)
class Stock:
    """The models of one machine's catalog and disk."""

    has: Mapping[str, int] = field(default_factory=dict)  # that could be loaded, and the bytes that a load needs
    fetches: frozenset[str] = frozenset()  # that could be downloaded


class Elsewhere:
    """The others.

    Args:
        peers: Where they are.
        here: This worker, as the others see it; what it has is filled in.
    """

    def __init__(self, peers: Peers, here: Peer) -> None:
        self._peers = peers
        self._here = here
        self._others: Sequence[Peer] = ()
        self._absent: Sequence[Peer] = ()
        self._absent_at_s: float | None = None
        self._looked_s: float | None = None
        self._stocked_s: float | None = None
        self._stock = Stock()
        self._there_since: dict[tuple[str, str], float] = {}
        self._silent_since: dict[str, float] = {}
        self._refused: dict[str, float] = {}
        self.unfit: Mapping[str, str] = {}  # any thread: models to be left to others, see :func:`app.scheduler.others.unfit`

    def news(self) -> None:
        """Look again next time: another worker has said something new. Any thread."""
        self._looked_s = None

    def changed(self) -> None:
        """Take stock again next time: files have come, the catalog changed, or a load has ended. Any thread."""
        self._stocked_s = None

    @property
    def alone(self) -> bool:
        """Whether nobody else lives, or is waited for."""
        return not (self._others or self._absent)

    @property
    def resident(self) -> frozenset[str]:
        """The models that any of the others has in memory."""
        return frozenset(model for one in self._others for model in one.resident)

    def began_at(self) -> dict[str, float]:
        """Return these and those on their way there, with the epoch s at which the first worker began that has each."""
        found: dict[str, float] = {}
        for one in self._others:
            found |= {model: min(one.began_at, found.get(model, one.began_at)) for model in one.resident | one.loading}
        return found

    def may_grant(self, model: str) -> bool:
        """Whether a wish for *model* that is in vain here is another's to grant, or to refuse: where the jobs are, more is known."""
        ours_to_say = not self._here.remote or all(one.remote for one in self._others)
        return not ours_to_say or any(one.has is None or one.holds(model) for one in self._others)

    def look(self, stock: Callable[[], Stock]) -> None:
        """See who is there, and take stock for them.

        Args:
            stock: Counts what is here.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        now_s = time.monotonic()
        if self._looked_s is None or now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s  # before the look: what is news meanwhile is looked at again
            before = {one.id for one in self._others}
            self._others = self._dated(self._peers.look())
            if self._absent_at_s is None or now_s - self._absent_at_s >= _ABSENT_EVERY_S or before != {one.id for one in self._others}:
                self._absent = self._peers.absent()
                self._absent_at_s = now_s
        if self.alone and not self._here.remote:
            self.unfit = {}
            return
        if self._stocked_s is None or now_s - self._stocked_s >= _STOCK_EVERY_S:
            self._stocked_s = now_s
            self._stock = stock()
            self._here = replace(self._here, has=self._stock.has, fetches=self._stock.fetches)
        self._peers.tell(self._stock)
        self.unfit = unfit(self._here, self._others)

    def _dated(self, others: Sequence[Peer]) -> list[Peer]:
        """Add since when models are there, and take those who are silent for too long for poor."""
        now = time.time()
        self._there_since = {(one.id, model): self._there_since.get((one.id, model), now) for one in others for model in one.resident}
        self._silent_since = {one.id: self._silent_since.get(one.id, now) for one in others if one.has is None}
        found = []
        for one in others:
            silent_s = now - self._silent_since.get(one.id, now)
            has = {} if one.has is None and silent_s >= _SILENT_S else one.has
            found.append(replace(one, has=has, warm={model: self._there_since[one.id, model] for model in one.warm}))
        return found

    def refused(self, model: str) -> Block | None:
        """Return the block that follows from a claim that was refused a moment ago."""
        until = self._refused.get(model, 0.0)
        return Block(Why.LOADING_ELSEWHERE, until) if time.time() < until else None

    def leave(self, asked: Asked) -> Block | None:
        """Return why a model is left to others for now; None: it is not."""
        return self.refused(asked.model) or leave(asked, self._here, self._others, self._absent)

    def claim_load(self, model: str) -> bool:
        """Take the load of a model that was not left to others; False: somebody was quicker, and it is left to him for a second.

        Raises:
            StoreUnavailable: Redis does not answer; no load begins.
        """
        if self._peers.claim_load(model, {one.id for one in self._others if model in one.resident}):
            self._refused.pop(model, None)
            return True
        self._refused[model] = time.time() + _REFUSED_S
        self.news()
        return False

    def end_load(self, model: str) -> None:
        """Note that the load of a model is over, now that what came of it has been reported."""
        self._peers.end_load(model)
        self.changed()
