"""How large the next slice may be, from how long the last ones took. Pure: the caller measures.

Sizes are powers of two, so that few shapes occur. One step up or down at a
time: the first slice of a shape may include building kernels, and a single
slow slice says little.
"""

from __future__ import annotations

__all__ = ["Pace"]

TARGET_S = 0.1
# Twice as much takes at most twice as long, so a size that grew below the target does not shrink again at once.
_TOO_LONG = 2.0  # times the target


class Pace:
    """Keeps slices near the target time."""

    def __init__(self, *, start: int, least: int, most: int, target_s: float = TARGET_S) -> None:
        self.size = start
        self._least = least
        self._most = most
        self._target_s = target_s

    def record(self, done: int, seconds: float) -> None:
        """Learn that a slice of *done* units took *seconds*.

        A slice that was not full says nothing of a larger one, so it never makes slices grow.
        """
        if seconds > _TOO_LONG * self._target_s and done * 2 > self.size:
            self.size = max(self._least, self.size // 2)
        elif seconds < self._target_s and done >= self.size:
            self.size = min(self._most, self.size * 2)
