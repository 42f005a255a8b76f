"""For whom one engine of speech has bytes: its side of the ledger. On the GPU thread.

A request keeps the keys and values of one sentence at a time, so what is reserved
is that of its longest. Requests enter in the order they came; nobody overtakes.
"""

from __future__ import annotations

from collections.abc import Collection

from app.engines.faults import RequestTooLarge
from app.engines.ledger import KvAccount
from app.engines.speaking import SpeechWork
from app.models.footprint import Footprint

__all__ = ["SpeechBooks"]


class SpeechBooks:
    """Reservations of one engine.

    Args:
        footprint: What the model keeps; None: nothing is reserved.
        account: Where; None: nothing is reserved.
    """

    def __init__(self, footprint: Footprint | None = None, account: KvAccount | None = None) -> None:
        self._footprint = footprint
        self._account = account if footprint is not None else None
        self._claimant: SpeechWork | None = None

    @property
    def wanted_bytes(self) -> int:
        """How much higher the ledger's limit must be before the request that waits for room fits even alone; 0 normally."""
        if self._account is None or self._claimant is None:
            return 0
        return max(0, self._bytes([self._claimant]) - self._account.ledger.limit_bytes)

    def refusal(self, work: SpeechWork) -> RequestTooLarge | None:
        """Return why *work* can never be done here, None where it can."""
        account = self._account
        if account is None or account.most_bytes is None or self._bytes([work]) <= account.most_bytes:
            return None
        return RequestTooLarge(account.owner, self._bytes([work]), account.most_bytes)

    def admit(self, running: Collection[SpeechWork], incoming: SpeechWork) -> bool:
        """Reserve for *incoming* beside *running*; return whether that was possible. If not, it claims its room."""
        if self._account is None:
            return True
        ledger, owner = self._account.ledger, self._account.owner
        if ledger.reserve(owner, self._bytes([*running, incoming]), claimed=incoming is self._claimant):
            self._claimant = None
            return True
        if incoming is not self._claimant:
            ledger.withdraw(owner)
        self._claimant = incoming
        ledger.claim(owner, self._bytes([incoming]))
        return False

    def settle(self, running: Collection[SpeechWork]) -> None:
        """Give back what is not needed any more by *running*."""
        if self._account is not None:
            self._account.ledger.reserve(self._account.owner, self._bytes(running))

    def forget(self, work_id: str) -> None:
        """Withdraw what *work_id* claimed, if it did."""
        if self._account is not None and self._claimant is not None and self._claimant.id == work_id:
            self._account.ledger.withdraw(self._account.owner)
            self._claimant = None

    def close(self) -> None:
        """Give everything back: the engine is gone."""
        if self._account is not None:
            self._account.ledger.release(self._account.owner)

    def _bytes(self, works: Collection[SpeechWork]) -> int:
        if self._footprint is None:
            return 0
        return sum(self._footprint.one_request_bytes(work.prompt_tokens, max(work.budgets, default=0)) for work in works)
