"""What tells whether a file is still the one that was looked at, and what it holds."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Changed", "Signature", "Verified", "content_hash", "signature_of"]


class Changed(Exception):
    """A file is not what it was when it was looked at last: replaced, written to, or gone."""


class Signature(NamedTuple):
    """Size and time. Not the inode: network drives and FUSE may give one file a new one each time."""

    size: int
    mtime_ns: int


def signature_of(path: Path) -> Signature | None:
    """Look at a file; None where it is gone, or is no regular file any more."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Signature(found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def content_hash(path: Path, signature: Signature) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits.

    Raises:
        Changed: It is not the file of that *signature*, or was written to meanwhile.
        OSError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(file.fileno())
    except FileNotFoundError:
        raise Changed from None
    if (after.st_size, after.st_mtime_ns) != signature or signature_of(path) != signature:
        raise Changed
    return found


class Verified(io.RawIOBase):
    """A file as it is sent: its last bytes are given out only when all of it has the expected hash.

    So a server never receives the whole of something else: the request breaks
    off before its end, and nothing was submitted.
    """

    def __init__(self, path: Path, size: int, sha256: str, stopping: Event) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._size = size
        self._sha256 = sha256
        self._stopping = stopping
        self._read_bytes = 0
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        """It is there to be read."""
        return True

    def seekable(self) -> bool:
        """Only to its ends, for whoever wants to know how long it is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to the beginning; or tell where the end is."""
        if whence == os.SEEK_SET and offset == 0:
            self._read_bytes = 0
            self._hash = hashlib.sha256()
            return self._file.seek(0)
        if whence == os.SEEK_END and offset == 0:
            return self._size
        message = "only the beginning and the end can be sought"
        raise io.UnsupportedOperation(message)

    def tell(self) -> int:
        """Return how much has been read."""
        return self._read_bytes

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into *buffer*.

        Raises:
            Changed: The content is not what it was, or the daemon stops.
        """
        view = memoryview(buffer).cast("B")
        count = self._file.readinto(view[: min(len(view), max(0, self._size - self._read_bytes))])
        self._hash.update(view[:count])
        self._read_bytes += count
        at_end = self._read_bytes == self._size
        if self._stopping.is_set() or (count == 0 and not at_end) or (at_end and self._hash.hexdigest() != self._sha256):
            raise Changed
        return count

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
