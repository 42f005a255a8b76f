"""A command on a terminal of its own, typed into and read as a person would."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.settings import Settings
from tests.integration.command import COMMAND, environment

_PATIENCE_S = 30.0
# The terminal has to be the controlling one, or Ctrl-C would be a character like any other.
_LAUNCH = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """What was shown so far, and the keys."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int) -> None:
        self.process = process
        self.shown = ""
        self._fd = fd
        self._read_to = 0

    def type(self, text: str) -> None:
        """Press keys; a line feed is the return key."""
        os.write(self._fd, text.encode())

    def read_until(self, text: str) -> str:
        """Wait until *text* is shown after what was waited for before, and return what came up to its end."""
        deadline = time.monotonic() + _PATIENCE_S
        while (at := self.shown.find(text, self._read_to)) < 0:
            if not self._read(deadline - time.monotonic()):
                message = f"{text!r} was not shown, but {self.shown[self._read_to :]!r}"
                raise AssertionError(message)
        begin, self._read_to = self._read_to, at + len(text)
        return self.shown[begin : self._read_to]

    def end(self) -> int:
        """Wait until the command has ended, and return its exit code."""
        deadline = time.monotonic() + _PATIENCE_S
        while self._read(deadline - time.monotonic()):
            pass
        assert "Traceback" not in self.shown
        return self.process.wait(_PATIENCE_S)

    def _read(self, seconds: float) -> bool:
        if seconds <= 0 or not select.select([self._fd], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(self._fd, 65536)
        except OSError:  # Linux says that everybody has left
            return False
        self.shown += piece.decode(errors="replace")
        return bool(piece)


@contextmanager
def on_terminal(settings: Settings, *words: str) -> Iterator[Terminal]:
    """Run a command on a new terminal; it is killed if it has not ended with the block."""
    ours, theirs = pty.openpty()
    plain = {"TERM": "xterm", "COLUMNS": "200", "LINES": "50", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", _LAUNCH, *COMMAND, *words],
        env=environment(settings, **plain),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        os.close(ours)
