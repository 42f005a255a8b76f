"""Models whose load failed, and until when nobody tries again.

A load that fails would fail for every job that asks for the model, and each
try costs the time of a load in which nothing else may load. So after a failure
the model's circuit is open for a while: who asks meanwhile hears of the
failure at once. Each further failure doubles that while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.errors import InferenceError

__all__ = ["Circuits", "OpenCircuit"]

_FIRST_S = 5.0
_MOST_S = 300.0


@dataclass(frozen=True, slots=True)
class OpenCircuit:
    """A failure that stands."""

    error: InferenceError
    failures: int
    until: float  # seconds since the epoch


class Circuits:
    """The circuits of one worker. Thread-safe.

    Args:
        now: Seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._circuits: dict[str, OpenCircuit] = {}
        self._lock = threading.Lock()

    def fail(self, model: str, error: InferenceError) -> OpenCircuit:
        """Open the circuit of *model*, for twice as long as the last time."""
        with self._lock:
            before = self._circuits.get(model)
            failures = before.failures + 1 if before else 1
            pause_s = min(_MOST_S, _FIRST_S * 2 ** (failures - 1))
            circuit = self._circuits[model] = OpenCircuit(error, failures, self._now() + pause_s)
            return circuit

    def find(self, model: str) -> OpenCircuit | None:
        """Return the open circuit of *model*, None where a load may be tried."""
        with self._lock:
            circuit = self._circuits.get(model)
            return circuit if circuit is not None and self._now() < circuit.until else None

    def close(self, model: str) -> None:
        """Forget every failure of *model*: it was loaded, or its files changed."""
        with self._lock:
            self._circuits.pop(model, None)

    def close_all(self) -> None:
        """Forget every failure: the catalog was read again."""
        with self._lock:
            self._circuits.clear()
