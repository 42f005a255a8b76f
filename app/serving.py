"""Which main API serves a home, as its other services can see it: the one that holds a file's lock, by the name that it wrote there.

A lock dies with its holder, so an API that was killed is never taken for one
that serves. Only services say and ask this: what ``up`` starts, ``up`` starts
again by itself.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

__all__ = ["SERVICE", "is_service", "say_serving", "serving"]

SERVICE = "MLX_SERVICE"
"""Environment variable of every service that ``mlx-local install`` makes: its label."""


def is_service() -> bool:
    """Return whether launchd or systemd supervises this process, as ``mlx-local install`` had it."""
    return bool(os.environ.get(SERVICE))


def say_serving(run_dir: Path) -> int:
    """Say that this process is the main API and serves, for as long as the returned descriptor is open."""
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(run_dir / "serving.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)  # there is one main API; whoever looks holds it for a moment
    os.ftruncate(fd, 0)
    os.pwrite(fd, secrets.token_hex(8).encode(), 0)
    return fd


def serving(run_dir: Path) -> str | None:
    """Return a name of the main API that serves, another one for each start; None while there is none."""
    try:
        fd = os.open(run_dir / "serving.lock", os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(fd, 64, 0).decode("ascii", "replace") or None
    else:
        return None
    finally:
        os.close(fd)
