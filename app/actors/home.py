"""A home has one worker at a time, and a name among workers of other homes."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO

from app.errors import InvalidSetting
from app.log import get_logger
from app.machine import machine_id

__all__ = ["home_id", "lock_worker"]

log = get_logger("worker.home")


def lock_worker(run_dir: Path) -> IO[str]:
    """Take the home's worker lock, which is held until the process ends.

    Raises:
        InvalidSetting: Another worker of this home runs.
    """
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = (run_dir / "worker.lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        text = f"another worker of this home runs (pid {file.read().strip() or 'unknown'})"
        file.close()
        raise InvalidSetting(text, param="home") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def home_id(run_dir: Path, taken: Callable[[str], bool] = lambda _: False) -> str:
    """Return the home's name among workers: random, kept in the home, the same after a move of the folder.

    A copy of a home gets a name of its own, or each of the two would take the other's jobs for those of its own past.

    Args:
        run_dir: Of the home.
        taken: Whether a worker of that name lives on another machine.
    """
    file = run_dir / "home-id"
    place = _place(run_dir)
    name, _, kept_at = (file.read_text() if file.exists() else "").strip().partition("\n")
    if name and kept_at == place and not taken(name):
        return name
    if name:
        log.warning(
            "home.renamed", detail="This home was copied, or moved to another disk. Jobs of its old name come back in half a minute."
        )
    name = secrets.token_hex(5)
    fresh = file.with_suffix(".new")
    fresh.write_text(f"{name}\n{place}\n")
    fresh.replace(file)  # whole or not at all
    return name


def _place(run_dir: Path) -> str:
    """Return what a folder keeps when it is moved on its disk, and a copy of it does not have."""
    return f"{machine_id()} {run_dir.stat().st_ino}"
