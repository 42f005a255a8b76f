"""Signals as a value that a loop can wait for, without polling and without losing one.

Python writes each signal into a socket (``signal.set_wakeup_fd``), so one that
arrives just before the wait begins ends it at once.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import time
from types import FrameType
from typing import Self

__all__ = ["Wakeup"]

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# ``make`` and the like pass on a signal that the whole terminal group got already.
_SAME_REQUEST_S = 1.0


class Wakeup:
    """Catches requests to stop and deaths of children, for the main thread, while it is entered."""

    def __init__(self) -> None:
        self._first_stop: float | None = None
        self.impatient = False
        self._reader, self._writer = socket.socketpair()
        self._before: dict[signal.Signals, object] = {}

    @property
    def stop_requested(self) -> bool:
        """Whether SIGINT, SIGTERM or SIGHUP came. ``impatient``: whether one came again later."""
        return self._first_stop is not None

    def __enter__(self) -> Self:
        for end in (self._reader, self._writer):
            end.setblocking(False)  # noqa: FBT003 - socket's own signature
        self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in _STOP:
            self._before[number] = signal.signal(number, self._on_stop)
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            # Whoever was asked to stop is stopping: a last Ctrl-C must not break into the little that is left.
            last_words = self.stop_requested and number in _STOP
            signal.signal(number, signal.SIG_IGN if last_words else before)  # type: ignore[arg-type]  # what signal.signal returned
        signal.set_wakeup_fd(self._wakeup_before)
        self._reader.close()
        self._writer.close()

    def wait(self, seconds: float | None) -> None:
        """Wait for a signal, at most *seconds*; None: as long as it takes."""
        select.select([self._reader], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(512):
                pass

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first_stop is None:
            self._first_stop = now
        elif now - self._first_stop >= _SAME_REQUEST_S:
            self.impatient = True
