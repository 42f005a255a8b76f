"""Who owns a home, and which of its processes live: told by file locks, never by a process id alone.

A lock (``flock``) belongs to an open file and dies with its last holder, so
a crash leaves nothing behind that could be mistaken for a living process, and
a process id that was reused is never signalled.

* ``run/owner.lock``: one ``up`` holds it alone; services share it.
* ``run/processes/NAME.lock``: held by that process from before its program
  begins (it is kept across ``exec``) until it has died.

Both hold a line of JSON that says who and since when. What is not promised:
locks on network file systems.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from app.cli.terminal import USAGE, CommandError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Holder", "claim_process", "hold", "home_owner", "is_held", "living", "own_home", "process_lock", "share_home"]

# A reader tests a lock by taking it for a moment, and the forked child of a killed
# Redis keeps its lock for a moment: whoever claims one tries for this long.
_PATIENCE_S = 5.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock."""

    pid: int
    since: str  # ISO 8601, with the zone
    supervisor: int | None = None  # pid of the ``up`` that started it; None: a service of its own

    def __str__(self) -> str:
        return f"process {self.pid}, since {self.since}"


def hold(path: Path, *, shared: bool = False, inherit: bool = False, patience_s: float = 0.0) -> int | None:
    """Take the lock *path*.

    Args:
        path: The lock file; it and its folder are made.
        shared: Other sharers may hold it too.
        inherit: Keep it across ``exec``.
        patience_s: How long to go on trying.

    Returns:
        The file descriptor that holds it, or None while somebody else does.

    Raises:
        CommandError: The home cannot be written.
    """
    deadline = time.monotonic() + patience_s
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        msg = f"MLX_LOCAL_HOME: {path} cannot be written ({error.strerror}); choose a folder of yours."
        raise CommandError(msg, USAGE) from None
    while True:
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                return None
            time.sleep(_POLL_S)
        else:
            os.set_inheritable(fd, inherit)
            return fd


def is_held(path: Path) -> bool:
    """Return whether somebody holds *path* alone."""
    if not path.exists():
        return False
    fd = hold(path, shared=True)
    if fd is None:
        return True
    os.close(fd)
    return False


def own_home(run_dir: Path) -> int:
    """Make this process the one ``up`` of its home, for as long as the returned descriptor is open.

    Raises:
        CommandError: Another ``up`` or services own it.
    """
    path = run_dir / "owner.lock"
    fd = hold(path, patience_s=0.0 if is_held(path) else 1.0)
    if fd is None:
        owner = home_owner(run_dir)
        if owner is not None:
            msg = f"This home is owned by another `mlx-local up` ({owner}); `mlx-local stop` ends it. Home: {run_dir.parent}"
        else:
            names = ", ".join(f"{name} ({holder})" for name, holder in living(run_dir).items())
            msg = f"This home is owned by services: {names or 'now starting'}. Stop them first (`mlx-local stop`). Home: {run_dir.parent}"
        raise CommandError(msg)
    _sign(fd, Holder(os.getpid(), _now()))
    return fd


def share_home(run_dir: Path) -> int:
    """Make this process one of the services of its home, across ``exec``.

    Raises:
        CommandError: An ``up`` owns it.
    """
    fd = hold(run_dir / "owner.lock", shared=True, inherit=True, patience_s=1.0)
    if fd is None:
        owner = home_owner(run_dir)
        msg = f"This home is owned by `mlx-local up` ({owner}); `mlx-local stop` ends it. Home: {run_dir.parent}"
        raise CommandError(msg)
    return fd


def claim_process(run_dir: Path, name: str, supervisor: int | None, *, patience_s: float = _PATIENCE_S) -> int:
    """Make this process the one *name* of its home, across ``exec``.

    Raises:
        CommandError: Another one lives.
    """
    path = process_lock(run_dir, name)
    fd = hold(path, inherit=True, patience_s=patience_s)
    if fd is None:
        msg = f"Another `{name}` of this home is running ({_read(path) or 'just started'}). Home: {run_dir.parent}"
        raise CommandError(msg)
    _sign(fd, Holder(os.getpid(), _now(), supervisor))
    return fd


def home_owner(run_dir: Path) -> Holder | None:
    """Return the living ``up`` that owns the home, if one does."""
    path = run_dir / "owner.lock"
    return _read(path) if is_held(path) else None


def living(run_dir: Path) -> dict[str, Holder]:
    """Return the living processes of the home by name: redis, api, audio, worker, daemon, and the guard of ``up``."""
    found: dict[str, Holder] = {}
    for path in sorted((run_dir / "processes").glob("*.lock")):
        if is_held(path) and (holder := _read(path)) is not None:
            found[path.stem] = holder
    return found


def process_lock(run_dir: Path, name: str) -> Path:
    """Return the lock of process *name*."""
    return run_dir / "processes" / f"{name}.lock"


def _now() -> str:
    return datetime.now(UTC).astimezone().isoformat(timespec="seconds")


def _sign(fd: int, holder: Holder) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(asdict(holder)).encode() + b"\n", 0)


def _read(path: Path) -> Holder | None:
    """Return who signed *path*; None while its holder has not signed yet."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Holder(**json.loads(path.read_text("utf-8")))
    return None
