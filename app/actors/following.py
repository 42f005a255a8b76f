"""A worker that is a service follows the main API: when that is restarted, it drains, ends, and is started again.

Users of the first implementation restarted one server and meant the models in
it. Nobody can see from outside why a server was restarted, so whatever made a
second one serve in this worker's life counts. The first does not: at a login
both start, in any order. What runs may finish, the rest goes back
to its queue uncharged, as in every drain.

A server that dies again and again does not take the worker with it each time:
a worker whose predecessor followed lately waits a minute before it does.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from app.serving import served

__all__ = ["Following"]

_LOOK_EVERY_S = 1.0
_LATELY_S = 600.0
_HOLD_S = 60.0


class Following:
    """What one worker knows of the main API. Build it before the worker starts.

    Args:
        run_dir: Of the home.
        now: Epoch s.
    """

    def __init__(self, run_dir: Path, now: Callable[[], float] = time.time) -> None:
        self._run_dir = run_dir
        self._now = now
        self._mark = run_dir / "worker.followed"  # its time says when a worker of this home followed last
        starts, serves = served(run_dir)
        self._first = starts if serves else starts + 1
        self._not_before = now() + (_HOLD_S if self._followed_lately() else 0.0)

    def is_due(self) -> bool:
        """Return whether this worker is to be started again now; the next one will know that it was."""
        starts, serves = served(self._run_dir)
        if not serves or starts <= self._first or self._now() < self._not_before:
            return False
        self._mark.touch()
        return True

    def wait(self, stop: threading.Event) -> bool:
        """Wait until *stop* is set, or until the main API was restarted; return whether it was the latter."""
        while not stop.wait(_LOOK_EVERY_S):
            if self.is_due():
                return True
        return False

    def _followed_lately(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return self._now() - self._mark.stat().st_mtime < _LATELY_S
        return False
