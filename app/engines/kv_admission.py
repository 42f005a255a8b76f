"""Which answers one engine has bytes for: its side of the ledger, by what its model keeps of a batch.

A batch pads its rows to the longest, so what an answer costs depends on its
company: all rows are reserved together, at the length that the longest may reach.
Without an account, or a footprint, everything fits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from app.engines.answer import Answer
from app.engines.faults import RequestTooLarge
from app.engines.ledger import KvAccount
from app.models.footprint import Footprint

__all__ = ["KvAdmission"]


class KvAdmission:
    """Reservations of one engine. On the GPU thread.

    Args:
        footprint: What the model keeps; None: nothing is reserved.
        account: Where; None: nothing is reserved.
    """

    def __init__(self, footprint: Footprint | None, account: KvAccount | None) -> None:
        self._footprint = footprint
        self._account = account if footprint is not None else None
        self._claimant: Answer | None = None

    @property
    def wanted_bytes(self) -> int:
        """How many bytes more the ledger's limit must have before the answer that waits for room fits even alone; 0 normally."""
        if self._account is None or self._claimant is None:
            return 0
        return max(0, self._alone(self._claimant) - self._account.ledger.limit_bytes)

    def refusal(self, answer: Answer) -> RequestTooLarge | None:
        """Return why *answer* can never be given here, None where it can."""
        account = self._account
        if account is None or account.most_bytes is None or self._alone(answer) <= account.most_bytes:
            return None
        return RequestTooLarge(account.owner, self._alone(answer), account.most_bytes)

    def fits(self, running: Collection[Answer], incoming: Answer) -> bool:
        """Return whether *incoming* may enter beside *running*. Changes nothing."""
        if self._account is None:
            return True
        ledger, owner = self._account.ledger, self._account.owner
        return ledger.fits(owner, self._together([*running, incoming], incoming), claimed=incoming is self._claimant)

    def may_overtake(self) -> bool:
        """Return whether answers behind the one that waits for room may still go before it."""
        return self._account is None or self._account.ledger.may_overtake(self._account.owner)

    def admit(self, running: Collection[Answer], incoming: Answer) -> bool:
        """Reserve for *incoming* beside *running*; return whether that was possible."""
        if self._account is None:
            return True
        ledger, owner = self._account.ledger, self._account.owner
        done = ledger.reserve(owner, self._together([*running, incoming], incoming), claimed=incoming is self._claimant)
        if done and incoming is self._claimant:
            self._claimant = None
        return done

    def settle(self, running: Collection[Answer], reading: Answer | None) -> None:
        """Give back what *running* does not need any more; *reading* is the one of them whose prompt is being read."""
        if self._account is not None:
            self._account.ledger.reserve(self._account.owner, self._together(running, reading))

    def wait_for_room(self, answer: Answer | None) -> None:
        """Note that *answer* is next in line and found no room; None: nobody waits for that."""
        if self._account is None:
            return
        ledger, owner = self._account.ledger, self._account.owner
        if answer is not self._claimant:
            ledger.withdraw(owner)
        self._claimant = answer
        if answer is not None:
            ledger.claim(owner, self._alone(answer))

    def forget(self, work_id: str) -> None:
        """Withdraw what *work_id* claimed, if it did."""
        if self._claimant is not None and self._claimant.work.id == work_id:
            self.wait_for_room(None)

    def lend(self, most_bytes: int, shrink: Callable[[int], int]) -> int:
        """Return what the prefix cache may grow to, *most_bytes* at most; *shrink* as :meth:`KvLedger.lend` has it."""
        return most_bytes if self._account is None else self._account.ledger.lend(self._account.owner, most_bytes, shrink)

    def piece_tokens(self, answer: Answer) -> int | None:
        """Return how many tokens of its prompt one slice may read, None: as many as the pace allows."""
        return None if self._footprint is None else self._footprint.piece_tokens(len(answer.tokens))

    def close(self) -> None:
        """Give everything back: the engine is gone."""
        if self._account is not None:
            self._account.ledger.release(self._account.owner)

    def _alone(self, answer: Answer) -> int:
        return self._together([answer], answer)

    def _together(self, answers: Collection[Answer], reading: Answer | None) -> int:
        if self._footprint is None or not answers:
            return 0
        longest = max(len(answer.work.prompt) + answer.work.max_tokens for answer in answers)
        return self._footprint.batch_bytes(longest, len(answers), 0 if reading is None else len(reading.tokens))
