"""SIGTERM and SIGINT as something to wait for, whatever libraries have made of signals meanwhile.

Once a model is in memory on NVIDIA's platform, a signal does not end the main
thread's wait on a lock any more: its handler is entered in C, and Python's part
of it would run when that thread next does anything, which is never. What the C
handler does in any case is write a byte where :func:`signal.set_wakeup_fd` says,
so the main thread waits for that byte.
"""

from __future__ import annotations

import signal
import socket
import threading

__all__ = ["StopSignals"]


class StopSignals:
    """The wish that this process ends. Build it on the main thread, where alone signals can be handled."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self._bytes, self._written = socket.socketpair()
        self._written.setblocking(False)  # noqa: FBT003 - its only parameter
        signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.event.set())

    def wait(self) -> None:
        """Wait for one, on the main thread."""
        while not self.event.is_set():
            self._bytes.recv(64)  # any signal with a handler is one; which, the handlers know, and they run now
