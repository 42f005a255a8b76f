"""Blobs of another machine on this one's disk: a folder of bounded size, for one process at a time.

What was used least recently leaves first; what is pinned stays, even beyond
the bound. A file is there whole or not at all; parts of one that is still
being fetched lie beside it under another name, and are gone on with.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections import Counter, OrderedDict
from pathlib import Path

__all__ = ["BlobCache"]

_PART = ".part"


class BlobCache:
    """Files by name. Thread-safe.

    Args:
        folder: Made on first use, for this user alone.
        limit_bytes: What all files together may have.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._pins: Counter[str] = Counter()
        self._sizes: OrderedDict[str, int] | None = None  # of each file, the least recently used first

    def find(self, name: str) -> Path | None:
        """Return where a blob is, if it is here; that is a use of it."""
        path = self._folder / name
        with self._lock:
            sizes = self._known()
            try:
                os.utime(path)  # so that the next process knows the order too
            except FileNotFoundError:
                sizes.pop(name, None)
                return None
            sizes.setdefault(name, path.stat().st_size)
            sizes.move_to_end(name)
        return path

    def begin(self) -> Path:
        """Return a new file to write into and then to :meth:`place`; whoever begins one removes what is left of it."""
        with self._lock:
            self._known()
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=".writing-")
        os.close(descriptor)
        return Path(name)

    def part(self, name: str) -> Path:
        """Return where a blob is while it is fetched; there may be a part of it already."""
        with self._lock:
            self._known().setdefault(f"{name}{_PART}", 0)
        return self._folder / f"{name}{_PART}"

    def place(self, file: Path, name: str) -> Path:
        """Give a whole file of this folder its name, let others leave for it, and return where it is now."""
        path = self._folder / name
        with self._lock:
            sizes = self._known()
            file.replace(path)
            sizes.pop(f"{name}{_PART}", None)
            sizes[name] = path.stat().st_size
            sizes.move_to_end(name)
            self._trim(sizes, self._limit_bytes, spare=name)
        return path

    def pin(self, name: str) -> None:
        """Keep a blob, which may be still to come, until :meth:`unpin` was called as often."""
        with self._lock:
            self._pins[name] += 1

    def unpin(self, name: str) -> None:
        """Let go of a blob that was pinned."""
        with self._lock:
            self._pins[name] -= 1
            if self._pins[name] <= 0:
                del self._pins[name]

    def trim(self, limit_bytes: int | None = None) -> int:
        """Remove what is beyond a limit, the folder's own where none is given, and not pinned; return how many files."""
        with self._lock:
            return self._trim(self._known(), self._limit_bytes if limit_bytes is None else limit_bytes)

    def _trim(self, sizes: OrderedDict[str, int], limit_bytes: int, spare: str | None = None) -> int:
        self._measure_parts(sizes)
        total, removed = sum(sizes.values()), 0
        for name in list(sizes):
            if total <= limit_bytes:
                break
            if name == spare or self._pins[name.removesuffix(_PART)] > 0:
                continue
            (self._folder / name).unlink(missing_ok=True)
            total -= sizes.pop(name)
            removed += 1
        return removed

    def _measure_parts(self, sizes: OrderedDict[str, int]) -> None:
        """See how far parts have grown since; of a fetch that was given up one is left."""
        for name in [name for name in sizes if name.endswith(_PART)]:
            try:
                sizes[name] = (self._folder / name).stat().st_size
            except FileNotFoundError:
                del sizes[name]

    def _known(self) -> OrderedDict[str, int]:
        """Return the files that an earlier process left too; half-written ones of it go."""
        if self._sizes is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in self._folder.glob(".writing-*"):
                left.unlink(missing_ok=True)
            found = []
            for path in self._folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    facts = path.stat()
                    found.append((facts.st_mtime, path.name, facts.st_size))
            self._sizes = OrderedDict((name, size) for _, name, size in sorted(found))
        return self._sizes
