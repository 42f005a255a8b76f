"""Whose the bytes of the budget are: weights, the work of one slice, a load on its way, and what requests may keep. On the GPU thread.

What nobody else has is the limit of the ledger, out of which engines reserve
for their requests (:mod:`app.engines.ledger`). A load takes its bytes out of
that limit before it begins, and begins once requests hold no more than is left:
so no byte is promised twice, whatever was decided meanwhile elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.engines.ledger import KvAccount, KvLedger

__all__ = ["MemoryBooks", "Need"]


@dataclass(frozen=True, slots=True)
class Need:
    """What a model takes, by estimate or by what was seen of it before."""

    load_bytes: int = 0  # to be free before its load: weights, one slice, one request
    weights_bytes: int = 0
    slice_bytes: int = 0  # the work of one slice; slices of different models never run at once
    fingerprint: str = ""  # of its files; empty: not known


class MemoryBooks:
    """The budget, and who has how much of it.

    Args:
        budget_bytes: What models may take together; None: as much as they like.
    """

    def __init__(self, budget_bytes: int | None = None) -> None:
        self.ledger = KvLedger(budget_bytes)
        self._budget_bytes = budget_bytes
        self._weights: dict[str, int] = {}
        self._needs: dict[str, Need] = {}
        self._loading: str | None = None

    def account(self, model: str) -> KvAccount:
        """Return what the engine of *model* keeps its books in."""
        most = None
        if self._budget_bytes is not None:
            need = self._needs.get(model, Need())
            most = max(0, self._budget_bytes - self._weights.get(model, need.weights_bytes) - need.slice_bytes)
        return KvAccount(self.ledger, model, most)

    def begin_load(self, model: str, need: Need) -> None:
        """Take the bytes of a load out of what requests may keep."""
        self._loading = model
        self._needs[model] = need
        self._move_limit()

    @property
    def may_load(self) -> bool:
        """Whether requests hold no more than the load that has begun leaves them."""
        return self.ledger.reserved_bytes <= self.ledger.limit_bytes

    def end_load(self, model: str, weights_bytes: int) -> None:
        """Note what the weights of *model* took, in place of what its load had taken out."""
        self._loading = None
        self._weights[model] = weights_bytes
        self._move_limit()

    def forget(self, model: str) -> None:
        """Note that *model* is gone, or that its load failed."""
        self._loading = None if self._loading == model else self._loading
        self._weights.pop(model, None)
        self._needs.pop(model, None)
        self.ledger.release(model)
        self._move_limit()

    def held_bytes(self, model: str) -> int:
        """Return what goes when *model* goes: weights, its slice's work, and what its requests hold."""
        need = self._needs.get(model, Need())
        return self._weights.get(model, 0) + need.slice_bytes + self.ledger.reserved_of(model)

    def wanted_bytes(self, model: str, lacking_bytes: int) -> int:
        """Return what must be free beside *model* for a request that fits once the ledger's limit is *lacking_bytes* higher."""
        return max(0, lacking_bytes + self.ledger.limit_bytes - self.ledger.reserved_of(model)) if lacking_bytes else 0

    def _move_limit(self) -> None:
        if self._budget_bytes is None:
            return
        coming = self._needs[self._loading].load_bytes if self._loading is not None else 0
        slices = [self._needs.get(model, Need()).slice_bytes for model in self._weights]
        self.ledger.limit_bytes = max(0, self._budget_bytes - sum(self._weights.values()) - coming - max(slices, default=0))
