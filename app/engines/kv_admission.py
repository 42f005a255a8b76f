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

    def fits(self, running: Collection[Answer], chosen: Collection[Answer], incoming: Answer) -> bool:
        """Return whether *incoming* may enter beside *running*, with *chosen*, for whom room is reserved. Changes nothing."""
        if self._account is None:
            return True
        ledger, owner = self._account.ledger, self._account.owner
        return ledger.fits(owner, self._with(running, chosen, incoming), claimed=incoming is self._claimant)

    def may_overtake(self) -> bool:
        """Return whether answers behind the one that waits for room may still go before it."""
        return self._account is None or self._account.ledger.may_overtake(self._account.owner)

    def admit(self, running: Collection[Answer], chosen: Collection[Answer], incoming: Answer) -> bool:
        """Reserve for *incoming* too, beside *running* and with *chosen*; return whether that was possible."""
        if self._account is None:
            return True
        ledger, owner = self._account.ledger, self._account.owner
        done = ledger.reserve(owner, self._with(running, chosen, incoming), claimed=incoming is self._claimant)
        if done and incoming is self._claimant:
            self._claimant = None
        return done

    def settle(self, running: Collection[Answer], reading: Collection[Answer]) -> None:
        """Give back what is not needed any more by *running* and, beside them, *reading*, whose prompts are on their way in."""
        if self._account is not None:
            self._account.ledger.reserve(self._account.owner, self._together([*running, *reading], reading))

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

    def piece_tokens(self, answers: Collection[Answer]) -> int | None:
        """Return how many tokens of their prompts, all together, one slice may read; None: as many as the pace allows."""
        if self._footprint is None:
            return None
        return self._footprint.piece_tokens(max((len(answer.tokens) for answer in answers), default=0))

    def close(self) -> None:
        """Give everything back: the engine is gone."""
        if self._account is not None:
            self._account.ledger.release(self._account.owner)

    def _alone(self, answer: Answer) -> int:
        return self._together([answer], [answer])

    def _with(self, running: Collection[Answer], chosen: Collection[Answer], incoming: Answer) -> int:
        return self._together([*running, *chosen, incoming], [*chosen, incoming])

    def _together(self, answers: Collection[Answer], reading: Collection[Answer]) -> int:
        if self._footprint is None or not answers:
            return 0
        longest = max(len(answer.work.prompt) + answer.work.max_tokens for answer in answers)
        # Prompts that are read together are padded to the longest of them.
        prompts = len(reading) * max((len(answer.tokens) for answer in reading), default=0)
        return self._footprint.batch_bytes(longest, len(answers), prompts)
