"""When a file is complete: nobody announces that, so it must stand still. No I/O; the caller looks and tells the time.

A file counts as still when its size and time have not changed for a while. An
empty file is most likely one that is about to be filled, so it has longer.
"""

from __future__ import annotations

from pathlib import Path

from daemon.signature import Signature

__all__ = ["Stillness"]

_EMPTY_TIMES = 30


class Stillness:
    """Watches files until they stand still."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._since: dict[Path, tuple[Signature, float]] = {}

    def still_in_s(self, path: Path, signature: Signature, now_s: float) -> float:
        """Take note of a look at *path*; return in how many seconds it will have stood still, 0 once it has."""
        last, since_s = self._since.get(path, (None, now_s))
        if last != signature:
            since_s = now_s
            self._since[path] = (signature, now_s)
        needed_s = self._settle_s * (1 if signature.size else _EMPTY_TIMES)
        return max(0.0, since_s + needed_s - now_s)

    def forget(self, path: Path) -> None:
        """Begin anew with *path*, should it come back."""
        self._since.pop(path, None)
