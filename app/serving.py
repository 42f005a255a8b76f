"""Which main API serves a home, as its other services see it: how many have served so far, in a file whose lock the one that serves holds.

A lock dies with its holder, so an API that was killed is never taken for one
that serves; and one that came and went between two looks was counted all the
same. Only services say and ask this: what ``up`` starts, ``up`` starts again by
itself.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["SERVICE", "Served", "is_service", "say_serving", "served"]

SERVICE = "MLX_SERVICE"
"""Environment variable of every service that ``mlx-local install`` makes: its label."""


class Served(NamedTuple):
    """The main APIs of a home."""

    starts: int  # how many have served, the present one included
    now: bool  # whether the last of them still does


def is_service() -> bool:
    """Return whether launchd or systemd supervises this process, as ``mlx-local install`` had it."""
    return bool(os.environ.get(SERVICE))


def say_serving(run_dir: Path) -> int:
    """Say that this process is the main API and serves, for as long as the returned descriptor is open."""
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(run_dir / "serving.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)  # there is one main API; whoever looks holds it for a moment
    starts = _starts(fd) + 1
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(starts).encode(), 0)
    return fd


def served(run_dir: Path) -> Served:
    """Return which main APIs have served a home."""
    try:
        fd = os.open(run_dir / "serving.lock", os.O_RDONLY)
    except FileNotFoundError:
        return Served(0, now=False)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Served(_starts(fd), now=True)
    else:
        return Served(_starts(fd), now=False)
    finally:
        os.close(fd)


def _starts(fd: int) -> int:
    text = os.pread(fd, 20, 0)
    return int(text) if text.isdigit() else 0  # not where a full disk kept it from being written
