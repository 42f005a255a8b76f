"""Counts models that come and go, for ``/metrics``. Thread-safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.jobs.series import LOAD_FAILURES, LOADS, SWAPS, UNLOADS

if TYPE_CHECKING:
    from app.jobs.tally import Tally

__all__ = ["Swaps"]


class Swaps:
    """What one worker's memory sees. A load counts as a swap if another model has left since the load before it."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._left: set[str] = set()

    def loaded(self, model: str, seconds: float) -> None:
        """Count a load."""
        self._tally.observe(LOADS, model, value=seconds)
        left, self._left = self._left, set()
        if left - {model}:
            self._tally.count(SWAPS, model)

    def failed(self, model: str) -> None:
        """Count a load that came to nothing."""
        self._tally.count(LOAD_FAILURES, model)

    def left(self, model: str) -> None:
        """Count a model that is gone."""
        self._tally.count(UNLOADS, model)
        self._left.add(model)
