"""One supervised program: how it is started, known to be ready, and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.cli.restarts import Exit, History

__all__ = ["Child", "Program"]

_TAIL_BYTES = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A line of the process table."""

    name: str
    command: tuple[str, ...]
    ready: Callable[[int], bool]  # process id -> whether it serves; called now and then until it does
    environment: Mapping[str, str] = field(default_factory=dict)  # over that of the supervisor
    start_stage: int = 0  # started while everything of lower stages is ready
    drain_stage: int = 0  # asked to stop when everything of lower stages has ended
    drain_s: float = 30.0  # what it has to stop in
    impatient_s: float = 0.0  # the same, when asked twice


class Child:
    """The process of a program, through its deaths."""

    def __init__(self, program: Program, stderr: Path) -> None:
        self.program = program
        self.history = History()
        self.start_at: float | None = 0.0  # on the monotonic clock; None while it runs or must not start
        self.ready = False
        self._stderr = stderr
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def running(self) -> bool:
        """Whether it has been started and its death not yet been seen."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Process id, 0 while there is none."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start the program in a process group of its own, so that Ctrl-C reaches the supervisor alone.

        Raises:
            OSError: The command cannot be run at all.
        """
        self._stderr.parent.mkdir(parents=True, exist_ok=True)
        self.start_at = None
        with self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                self.program.command,
                env={**os.environ, **self.program.environment},
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                process_group=0,
            )
        self._started_at = time.monotonic()

    def probe(self) -> bool:
        """Ask a running, unready process whether it serves now; return whether it just became ready."""
        if self._process is None or self.ready:
            return False
        self.ready = self.program.ready(self._process.pid)
        return self.ready

    def poll(self) -> Exit | None:
        """Return how the process ended, once, if it has; what is left of its group is killed."""
        if self._process is None or self._process.poll() is None:
            return None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        last = self.last_lines(1)
        end = Exit(self._process.returncode, time.monotonic() - self._started_at, self.ready, last[0] if last else "")
        self._process = None
        self.ready = False
        return end

    def last_lines(self, count: int) -> list[str]:
        """Return the last lines, empty ones left out, that the process wrote on stderr or stdout."""
        with contextlib.suppress(OSError), self._stderr.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            lines = [line.rstrip() for line in file.read().decode(errors="replace").splitlines()]
            return [line for line in lines if line][-count:]
        return []

    def terminate(self) -> None:
        """Ask the process to end."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End the process, and what it started, now."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
