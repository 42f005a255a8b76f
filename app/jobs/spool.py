"""Blobs too large for Redis: files named by their content's SHA-256.

Written to a temporary name, synced and renamed, and only then named in a
record, so that a name in a record always leads to a whole file. Each job that
needs a blob holds a hard link to it; the worker alone sweeps blobs that have
no other link.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Spool"]


class Spool:
    """A folder of blobs, made on first use and for this user alone."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"
        self._held = folder / "held"

    def put(self, content: bytes, *, holder: str) -> str:
        """Store *content* durably, held by job *holder*, and return its name."""
        name = hashlib.sha256(content).hexdigest()
        path = self._blobs / name[:2] / name
        link = self._held / f"{holder}~{name}"
        for folder in (path.parent, self._held):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write(path, content)
        link.unlink(missing_ok=True)
        try:
            link.hardlink_to(path)
        except FileNotFoundError:  # nobody held it for an hour, and the sweep took it away under our eyes
            self._write(path, content)
            link.hardlink_to(path)
        return name

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        if not path.exists():
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".writing-", delete=False) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(path)

    def get(self, name: str) -> bytes:
        """Return a blob's content.

        Raises:
            FileNotFoundError: There is no such blob.
        """
        return (self._blobs / name[:2] / name).read_bytes()

    def drop(self, holder: str) -> None:
        """Forget what *holder* held."""
        for link in self._held.glob(f"{holder}~*"):
            link.unlink(missing_ok=True)

    def holders(self) -> Iterator[str]:
        """Yield the jobs that hold a blob."""
        if self._held.is_dir():
            for link in self._held.iterdir():
                yield link.name.partition("~")[0]

    def sweep(self, *, older_than_s: float = 3600.0) -> int:
        """Remove blobs that nobody has held since *older_than_s* ago, and unfinished writes; return how many."""
        removed = 0
        limit = time.time() - older_than_s
        for path in self._blobs.glob("*/*"):
            try:
                found = path.stat()
            except FileNotFoundError:
                continue  # a write that was finished meanwhile, and so renamed
            # ctime: it moves when a link is made or removed, mtime does not.
            if found.st_nlink == 1 and found.st_ctime < limit:
                path.unlink(missing_ok=True)
                removed += 1
        return removed
