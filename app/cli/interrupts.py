"""Ctrl-C at a moment when it would leave a job behind that nobody knows of."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["interrupted_after"]


@contextmanager
def interrupted_after() -> Iterator[list[int]]:
    """Note a Ctrl-C within the block in what is yielded, instead of acting on it; a second one interrupts at once."""
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)
