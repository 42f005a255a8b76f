"""Whose slice is next among those who are in an engine. Pure.

They take turns. Those that nobody waits for let the others go first, of whom so
many in a row may as pass in a line (:mod:`app.engines.line`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from app.engines.protocols import MOST_PASSED

__all__ = ["Rotation"]

T = TypeVar("T")


class Rotation(Generic[T]):
    """Those who take turns, in their order.

    Args:
        is_patient: Says of one whether nobody waits for it.
    """

    def __init__(self, is_patient: Callable[[T], bool]) -> None:
        self._is_patient = is_patient
        self._members: deque[T] = deque()
        self._passed = 0  # slices in a row of others, while somebody patient was there

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[T]:
        return iter(self._members)

    @property
    def first(self) -> T | None:
        """Whose turn it is, None where nobody is there. Asked twice, it answers the same."""
        hurried = next((one for one in self._members if not self._is_patient(one)), None)
        patient = next((one for one in self._members if self._is_patient(one)), None)
        return patient if hurried is None or (patient is not None and self._passed >= MOST_PASSED) else hurried

    def join(self, one: T) -> None:
        """Let *one* in, after all others."""
        self._members.append(one)

    def leave(self, one: T) -> None:
        """Let *one* go, who is there."""
        self._members.remove(one)

    def clear(self) -> None:
        """Let everybody go."""
        self._members.clear()

    def pass_on(self) -> None:
        """End the turn of the first, who goes behind all others."""
        if (first := self.first) is not None:
            self._members.remove(first)
            self._members.append(first)
            hurried = not self._is_patient(first)
            self._passed = self._passed + 1 if hurried and any(map(self._is_patient, self._members)) else 0
