"""Stopping processes that nobody supervises any more, in the order that loses nothing.

The worker goes first and gives its jobs back to Redis, which therefore goes
last. Only processes that hold their lock are signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.ownership import Holder, living

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["DRAIN_ORDER", "REDIS_STOP_S", "drain_stage_s", "stop_limit_s", "stop_living"]

DRAIN_ORDER: tuple[tuple[str, ...], ...] = (("worker", "daemon"), ("api", "audio"), ("redis",))
_MARGIN_S = 10.0
"""What a process has beyond the drain time-out, to write down what it gave back."""

REDIS_STOP_S = 30.0
"""It syncs its file, and must even when a person is impatient."""

_POLL_S = 0.05
_KILL_S = 5.0


def drain_stage_s(settings: Settings) -> float:
    """Return how long one stage of the drain has."""
    return settings.drain_timeout.total_seconds() + _MARGIN_S


def stop_limit_s(settings: Settings, name: str) -> float:
    """Return how long process *name* has to end before it is killed."""
    return REDIS_STOP_S if name == "redis" else drain_stage_s(settings)


def stop_living(run_dir: Path, drain_s: float, *, supervisor: int | None = None, say: Callable[[str], None] = lambda _: None) -> None:
    """Ask the living processes of a home to end, stage by stage, and kill those that do not.

    Args:
        run_dir: Of the home.
        drain_s: How long each stage has.
        supervisor: Only the children of this ``up``; None: all.
        say: Told of each process that is stopped.
    """
    for names in DRAIN_ORDER:
        for name, holder in _living(run_dir, names, supervisor).items():
            say(f"Stopping {name} (process {holder.pid}).")
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder.pid, signal.SIGTERM)
        if _wait(run_dir, names, supervisor, drain_s):
            continue
        for name, holder in _living(run_dir, names, supervisor).items():
            say(f"{name} (process {holder.pid}) did not stop in {drain_s:.0f} s and is killed.")
            _kill(holder.pid)
        _wait(run_dir, names, supervisor, _KILL_S)


def _living(run_dir: Path, names: tuple[str, ...], supervisor: int | None) -> dict[str, Holder]:
    found = living(run_dir).items()
    return {name: holder for name, holder in found if name in names and supervisor in {None, holder.supervisor}}


def _wait(run_dir: Path, names: tuple[str, ...], supervisor: int | None, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _living(run_dir, names, supervisor):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(pid) == pid:  # started by an ``up``: what it started itself goes too
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
