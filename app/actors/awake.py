"""Keeps a Mac from idle sleep while jobs run: a child process (``caffeinate``) that holds an assertion for as long as it lives.

It ends with this process, however that ends. A closed lid, and a user who
chooses Sleep, still put the machine to sleep: jobs go on when it wakes.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence

from app.log import get_logger

__all__ = ["Awake"]

log = get_logger("worker.awake")

# Between two jobs a model may be loaded, and its jobs wait for that in their queues.
_GRACE_S = 30.0


class Awake:
    """The assertion of one worker. For one thread.

    Args:
        command: Holds it while it runs; None: this machine has none, or the settings want none.
        now: Seconds, monotonic.
    """

    def __init__(self, command: Sequence[str] | None, now: Callable[[], float] = time.monotonic) -> None:
        self._command = command
        self._now = now
        self._busy_at = -_GRACE_S
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def held(self) -> int | None:
        """The process that holds the assertion."""
        return None if self._process is None else self._process.pid

    def see(self, *, running: bool) -> None:
        """Hear, every few seconds, whether jobs run."""
        if running:
            self._busy_at = self._now()
        wanted = running or self._now() - self._busy_at < _GRACE_S
        if not wanted:
            self._let_go()
        elif self._command is not None and (self._process is None or self._process.poll() is not None):
            self._take(self._command)

    def close(self) -> None:
        """Let the machine sleep, from now on."""
        self._command = None
        self._let_go()

    def _let_go(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.terminate()
            process.wait()

    def _take(self, command: Sequence[str]) -> None:
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except OSError as error:
            log.warning("awake.not_held", error=error.strerror)
            self._command = None
