"""Keeps a table of programs running, and drains them in order when asked to stop.

One thread, waiting for signals; it polls only while something is not ready
yet. It promises: a program that dies is started again (:mod:`app.cli.restarts`
says when), each death is told in one line, and when :meth:`Supervisor.run`
returns no child of it runs. What happens to the children of a supervisor that
is killed is :mod:`app.cli.guard`'s concern.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from app.cli.child import Child, Program
from app.cli.restarts import Exit, GiveUp, after_exit
from app.cli.wakeup import Wakeup

__all__ = ["Supervisor"]

_PROBE_S = 0.1
_TAIL_LINES = 12


class Watcher(Protocol):
    """What must live beside the programs: the guard."""

    def ensure(self) -> None:
        """Start it unless it lives."""


class Supervisor:
    """Runs a table of programs until asked to stop."""

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        stderr_dir: Path,
        say: Callable[[str], None],
        on_ready: Callable[[], None] = lambda: None,
        watcher: Watcher | None = None,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            programs: The process table.
            stderr_dir: Where ``NAME.stderr`` holds what each process's present life wrote.
            say: Told what happens, a line at a time.
            on_ready: Called once, when everything is ready for the first time.
            watcher: Kept alive too.
        """
        self._children = [Child(program, stderr_dir / f"{program.name}.stderr") for program in programs]
        self._say = say
        self._on_ready = on_ready
        self._watcher = watcher
        self._greeted = False

    def run(self) -> int:
        """Run until SIGINT, SIGTERM or SIGHUP, or until a program cannot start.

        Returns:
            0 after a drain; 1 if something had to be killed; else the failed program's exit status, at least 1.
        """
        with Wakeup() as wakeup:
            failed = 0
            try:
                while not wakeup.stop_requested and not failed:
                    failed = self._round()
                    if not failed:
                        wakeup.wait(self._pause_s())
                if not failed:
                    self._say("Draining: running jobs may finish, the rest is kept. Ctrl-C again stops at once.")
            finally:
                drained = self._drain(wakeup)
        return failed or (0 if drained else 1)

    def _round(self) -> int:
        """See to deaths, due starts and readiness. Returns the exit status of a program that cannot start, else 0."""
        for child in self._children:
            if (end := child.poll()) and not self._plan_restart(child, end):
                return end.status if end.status > 0 else 1
        if self._watcher is not None:
            self._watcher.ensure()
        now = time.monotonic()
        for child in self._children:
            if child.start_at is not None and child.start_at <= now and self._may_start(child):
                if child.history.deaths == 0:
                    self._say(f"Starting {child.program.name}.")
                child.start()
        for child in self._children:
            if child.probe() and child.history.deaths:
                self._say(f"{child.program.name} is back.")
        if not self._greeted and all(child.ready for child in self._children):
            self._greeted = True
            self._on_ready()
        return 0

    def _may_start(self, child: Child) -> bool:
        return all(other.ready for other in self._children if other.program.start_stage < child.program.start_stage)

    def _pause_s(self) -> float | None:
        """How long nothing can happen but a signal."""
        if any(child.running and not child.ready for child in self._children):
            return _PROBE_S
        now = time.monotonic()
        due = [max(0.0, child.start_at - now) for child in self._children if child.start_at is not None and self._may_start(child)]
        return min(due, default=None)

    def _plan_restart(self, child: Child, end: Exit) -> bool:
        """Tell of a death and plan the next start; return False if there is none."""
        name = child.program.name
        decision = after_exit(child.history, end)
        if isinstance(decision, GiveUp):
            times = "" if decision.failed_starts == 1 else f" {decision.failed_starts} times"
            self._say(f"{name} could not start{times} ({_how(end)}), so everything stops. Its last lines:")
            for line in child.last_lines(_TAIL_LINES):
                self._say(f"  {line}")
            return False
        when = "now" if not decision.delay_s else f"in {decision.delay_s:g} s"
        what = f"died after {end.lived_s:.0f} s" if end.was_ready else "could not start"
        last = f": {end.last_line}" if end.last_line and not end.was_ready else ""
        self._say(f"{name} {what} ({_how(end)}){last} - starting it again {when}.")
        child.history = decision.history
        child.start_at = time.monotonic() + decision.delay_s
        return True

    def _drain(self, wakeup: Wakeup) -> bool:
        """End every child, stage by stage; return whether none had to be killed."""
        clean = True
        for stage in sorted({child.program.drain_stage for child in self._children}):
            children = [child for child in self._children if child.program.drain_stage == stage and child.running]
            clean &= self._end(children, wakeup)
        return clean

    def _end(self, children: Sequence[Child], wakeup: Wakeup) -> bool:
        began = time.monotonic()
        doomed: set[str] = set()
        for child in children:
            child.terminate()
        while True:
            for child in children:
                child.poll()
            left = [child for child in children if child.running]
            if not left:
                return not doomed
            elapsed = time.monotonic() - began
            limits = {child: child.program.impatient_s if wakeup.impatient else child.program.drain_s for child in left}
            for child, limit in limits.items():
                if elapsed >= limit and child.program.name not in doomed:
                    doomed.add(child.program.name)
                    self._say(f"{child.program.name} has not stopped after {elapsed:.0f} s and is killed.")
                    child.kill()
            wakeup.wait(max(0.05, min(limits.values()) - elapsed))


def _how(end: Exit) -> str:
    if end.status >= 0:
        return f"exit status {end.status}"
    try:
        return f"killed by {signal.Signals(-end.status).name}"
    except ValueError:
        return f"killed by signal {-end.status}"
