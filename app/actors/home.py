"""A home has one worker at a time, and a name among workers of other homes."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import IO

from app.errors import InvalidSetting

__all__ = ["home_id", "lock_worker"]


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


def home_id(run_dir: Path) -> str:
    """Return the home's name among workers: random, kept in the home, the same after a move of the folder."""
    file = run_dir / "home-id"
    known = file.read_text().strip() if file.exists() else ""
    if known:
        return known
    name = secrets.token_hex(5)
    fresh = file.with_suffix(".new")
    fresh.write_text(name)
    fresh.replace(file)  # whole or not at all
    return name
