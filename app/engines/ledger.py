"""Who may keep how many bytes of keys and values on the GPU thread. Pure arithmetic, single thread.

One ledger for all engines, since they share the memory. An engine reserves for
its batch before a request enters, and gives back as requests leave. Prefix caches
borrow what nobody has reserved, and are called in when somebody does. A request
that finds no room claims it: smaller ones may overtake a claim a bounded number of
times, whichever engine they are of; then everybody waits until it is met. The
scheduler moves the limit as models come and go.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass

__all__ = ["KvAccount", "KvLedger"]

_MOST_OVERTAKEN = 8


@dataclass(slots=True)
class _Claim:
    least_bytes: int  # what it needs when its engine has nothing else
    overtaken: int = 0


@dataclass(slots=True)
class _Loan:
    most_bytes: int  # what the cache may grow to
    shrink: Callable[[int], int]


class KvLedger:
    """Reservations, loans and claims by owner: the id of the model whose engine it is.

    Args:
        limit_bytes: What all may keep together; None: as much as they like.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        self._limit_bytes = sys.maxsize if limit_bytes is None else limit_bytes
        self._reserved: dict[str, int] = {}
        self._loans: dict[str, _Loan] = {}
        self._claims: dict[str, _Claim] = {}  # the oldest first

    @property
    def limit_bytes(self) -> int:
        """What all may keep together."""
        return self._limit_bytes

    @limit_bytes.setter
    def limit_bytes(self, limit_bytes: int) -> None:
        """Move the limit. Caches give back what is over it at once; what requests hold runs out as they end."""
        self._limit_bytes = limit_bytes
        self._call_in(sum(self._reserved.values()))

    @property
    def reserved_bytes(self) -> int:
        """What requests hold."""
        return sum(self._reserved.values())

    def reserved_of(self, owner: str) -> int:
        """What *owner*'s requests hold."""
        return self._reserved.get(owner, 0)

    @property
    def claimants(self) -> Collection[str]:
        """Whose requests wait for room."""
        return self._claims.keys()

    @property
    def lent_bytes(self) -> int:
        """What prefix caches may grow to."""
        return sum(loan.most_bytes for loan in self._loans.values())

    @property
    def free_bytes(self) -> int:
        """What nobody holds and no cache may grow into."""
        return max(0, self._limit_bytes - self.reserved_bytes - self.lent_bytes)

    def fits(self, owner: str, total_bytes: int, *, claimed: bool = False) -> bool:
        """Return whether :meth:`reserve` with the same arguments would succeed, were all caches to give way."""
        if total_bytes <= self._reserved.get(owner, 0):
            return True
        urgent = next((name for name, claim in self._claims.items() if self._exhausted(claim)), None)
        if urgent is not None and not (claimed and urgent == owner):
            return False
        return total_bytes <= self._limit_bytes - self._others(owner)

    def reserve(self, owner: str, total_bytes: int, *, claimed: bool = False) -> bool:
        """Make *total_bytes* all that *owner*'s requests hold, in place of what they held.

        Args:
            owner: Whose.
            total_bytes: All of its requests together. Less than before always succeeds.
            claimed: Whether more than before is for the request that claimed it, so that its claim is met.

        Returns:
            Whether it is reserved; if not, nothing has changed but that caches may be smaller.
        """
        if not self.fits(owner, total_bytes, claimed=claimed):
            return False
        grows = total_bytes > self._reserved.get(owner, 0)
        if grows and not self._call_in(self._others(owner) + total_bytes, last=owner):
            return False
        if claimed:
            self._claims.pop(owner, None)
        if grows:
            for claim in self._claims.values():
                claim.overtaken += 1
        self._reserved[owner] = total_bytes
        return True

    def claim(self, owner: str, least_bytes: int) -> None:
        """Note that the head of *owner*'s line found no room; it is asked for again and again until it does.

        Args:
            owner: Whose.
            least_bytes: What the request needs alone. While the limit is below that nobody waits for it.
        """
        known = self._claims.setdefault(owner, _Claim(least_bytes))
        known.least_bytes = least_bytes

    def withdraw(self, owner: str) -> None:
        """Forget *owner*'s claim: its request is gone."""
        self._claims.pop(owner, None)

    def may_overtake(self, owner: str) -> bool:
        """Return whether requests behind the one that *owner* claimed for may still go before it."""
        claim = self._claims.get(owner)
        return claim is None or claim.overtaken < _MOST_OVERTAKEN

    def lend(self, owner: str, most_bytes: int, shrink: Callable[[int], int]) -> int:
        """Let *owner*'s prefix cache grow, up to *most_bytes* of what nobody holds, in place of an earlier loan.

        Args:
            owner: Whose.
            most_bytes: The most that it would use.
            shrink: Called with the bytes that it may keep from then on; returns what it does keep for now.

        Returns:
            What it may grow to.
        """
        self._loans.pop(owner, None)
        granted = min(most_bytes, self.free_bytes)
        self._loans[owner] = _Loan(granted, shrink)
        return granted

    def release(self, owner: str) -> None:
        """Forget all of *owner*'s: its engine is gone."""
        for book in (self._reserved, self._loans, self._claims):
            book.pop(owner, None)

    def _exhausted(self, claim: _Claim) -> bool:
        return claim.overtaken >= _MOST_OVERTAKEN and claim.least_bytes <= self._limit_bytes

    def _others(self, owner: str) -> int:
        return sum(size for name, size in self._reserved.items() if name != owner)

    def _call_in(self, reserved_bytes: int, last: str | None = None) -> bool:
        """Have caches give way until *reserved_bytes* fit beside them, *last*'s after the others'. Return whether they do."""
        for name in sorted(self._loans, key=lambda name: name == last):
            over = reserved_bytes + self.lent_bytes - self._limit_bytes
            if over <= 0:
                break
            loan = self._loans[name]
            loan.most_bytes = loan.shrink(max(0, loan.most_bytes - over))
        return reserved_bytes + self.lent_bytes <= self._limit_bytes


@dataclass(frozen=True, slots=True)
class KvAccount:
    """Where an engine keeps its books: what a load is given."""

    ledger: KvLedger  # shared with the other engines
    owner: str  # the model's id
    most_bytes: int | None = None  # what its requests could have if no other model were in memory; None: nothing is refused
