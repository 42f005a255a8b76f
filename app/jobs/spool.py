"""Blobs too large for Redis: files named by their content's SHA-256.

Written to a temporary name, synced and renamed, and only then named in a
record, so that a name in a record always leads to a whole file. Each job or
file that needs a blob holds a hard link to it; blobs that have no other link
are swept: by the worker and the API of the home, and by who purges. A lock of
the folder lets nobody link to a blob while it is being removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from app.errors import WrongContent

__all__ = ["Spool"]


class Spool:
    """A folder of blobs, made on first use and for this user alone."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"
        self._held = folder / "held"
        self._lock = folder / "lock"
        self._swept = folder / "swept"

    def put(self, content: bytes, *, holder: str) -> str:
        """Store *content* durably, held by *holder*, and return its name."""
        return self.put_pieces((content,), holder=holder)

    def put_pieces(self, pieces: Iterable[bytes], *, holder: str) -> str:
        """Store the content that *pieces* make up, which may be larger than memory; otherwise as :meth:`put`."""

        def write(target: Path) -> None:
            with target.open("wb") as file:
                file.writelines(pieces)

        return self.put_written(write, holder=holder)

    def put_written(self, write: Callable[[Path], object], *, holder: str) -> str:
        """Store what *write* puts into the file that it is given; otherwise as :meth:`put`. What it raises is passed on."""
        written = self.begin()
        try:
            write(written)
            return self.keep(written, holder=holder)
        finally:
            written.unlink(missing_ok=True)

    def begin(self) -> Path:
        """Return a new file to write into and then to :meth:`keep`; whoever begins one removes what is left of it."""
        for folder in (self._blobs, self._held):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._blobs, prefix=".writing-")
        os.close(descriptor)
        return Path(name)

    def keep(self, written: Path, *, holder: str, name: str | None = None) -> str:
        """Store a file that was begun here; otherwise as :meth:`put`.

        Args:
            written: The file.
            holder: Who holds it.
            name: What it should be called, by whoever sent it.

        Raises:
            WrongContent: That is not its name.
        """
        with written.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if name not in {None, digest}:
                raise WrongContent(str(name))
            os.fsync(file.fileno())
        return self._keep(written, digest, holder)

    def _keep(self, written: Path, name: str, holder: str) -> str:
        """Give *written* its name, unless that blob is there, and a link for *holder*."""
        path = self.path(name)
        link = self._held / f"{holder}~{name}"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        link.unlink(missing_ok=True)
        with self._locked(fcntl.LOCK_SH):
            try:
                link.hardlink_to(path)
            except FileNotFoundError:  # new here, or nobody held it and a sweep has just taken it
                link.hardlink_to(written)
                written.replace(path)
        return name

    def hold(self, name: str, *, holder: str) -> None:
        """Keep the blob *name* for *holder* too; nothing changes where it does already.

        Raises:
            FileNotFoundError: There is no such blob.
        """
        with self._locked(fcntl.LOCK_SH), contextlib.suppress(FileExistsError):
            (self._held / f"{holder}~{name}").hardlink_to(self.path(name))

    def get(self, name: str) -> bytes:
        """Return a blob's content.

        Raises:
            FileNotFoundError: There is no such blob.
        """
        return self.path(name).read_bytes()

    def path(self, name: str) -> Path:
        """Return where a blob is, if it is there."""
        return self._blobs / name[:2] / name

    def used_by(self, withdrawn: threading.Event) -> AbstractContextManager[None]:  # noqa: ARG002 - of interest elsewhere
        """Do nothing: what is here needs no fetching, and its holders keep it."""
        return contextlib.nullcontext()

    def drop(self, holder: str, name: str | None = None) -> None:
        """Forget that *holder* held the blob *name*, or all that it held, which takes a look at every link there is."""
        for link in self._held.glob(f"{holder}~*") if name is None else [self._held / f"{holder}~{name}"]:
            link.unlink(missing_ok=True)

    def holders(self, *, older_than_s: float = 0.0) -> Iterator[str]:
        """Yield the jobs that hold a blob which nobody has held or let go of since *older_than_s* ago."""
        limit = time.time() - older_than_s
        if self._held.is_dir():
            for link in self._held.iterdir():
                with contextlib.suppress(FileNotFoundError):  # let go of meanwhile
                    if link.stat().st_ctime <= limit:
                        yield link.name.partition("~")[0]

    def sweep(self, *, older_than_s: float = 3600.0) -> int:
        """Remove blobs that nobody has held since *older_than_s* ago, and unfinished writes; return how many."""
        removed = 0
        limit = time.time() - older_than_s
        with contextlib.suppress(FileNotFoundError):  # no folder
            self._swept.touch(mode=0o600)
        for path in (*self._blobs.glob("*/*"), *self._blobs.glob(".writing-*")):
            try:
                found = path.stat()
            except FileNotFoundError:
                continue  # a write that was finished meanwhile, and so renamed
            # ctime: it moves when a link is made or removed, mtime does not.
            if found.st_nlink == 1 and found.st_ctime < limit:
                removed += self._remove_unheld(path)
        return removed

    def last_swept(self) -> float:
        """Return when somebody last looked for what nobody holds, epoch s; 0: nobody has."""
        try:
            return self._swept.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def clear(self) -> int:
        """Remove every blob that nobody holds, however new, and leave unfinished writes alone; return how many."""
        return sum(self._remove_unheld(path) for path in self._blobs.glob("*/*"))

    def _remove_unheld(self, path: Path) -> bool:
        with self._locked(fcntl.LOCK_EX):
            try:
                if path.stat().st_nlink > 1:  # held meanwhile
                    return False
                path.unlink()
            except FileNotFoundError:  # a write that was finished meanwhile, and so renamed; or another one has swept
                return False
        return True

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        """Hold the folder's lock: shared to make links, alone to remove a blob."""
        try:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # no folder, so there is nothing to guard
            yield
            return
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)
