"""What a worker asks of the place where large content lies, wherever that is.

:class:`~app.jobs.spool.Spool` is a folder of its own machine,
:class:`~app.jobs.remote_spool.RemoteSpool` that of another one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel

__all__ = ["ApiFacts", "Blobs"]


class ApiFacts(BaseModel, frozen=True):
    """What the API beside a spool says of itself to workers."""

    version: str
    redis_id: str  # of the server that has its jobs


class Blobs(Protocol):
    """Content named by its SHA-256, each held by the jobs and files that need it. Synchronous and thread-safe."""

    def used_by(self, withdrawn: threading.Event) -> AbstractContextManager[None]:
        """Let the calling thread work on one job in the block: all that it names, reads and makes stays until the block's end.

        Where content comes from afar, calls in the block wait for as long as that takes, and raise
        :class:`~concurrent.futures.CancelledError` once *withdrawn* is set. Outside of a block they wait for nothing and raise
        :class:`~app.errors.SpoolUnavailable`.
        """
        ...

    def put(self, content: bytes, *, holder: str) -> str:
        """Store *content* durably, held by *holder*, and return its name."""
        ...

    def put_pieces(self, pieces: Iterable[bytes], *, holder: str) -> str:
        """Store the content that *pieces* make up, which may be larger than memory; otherwise as :meth:`put`."""
        ...

    def put_written(self, write: Callable[[Path], object], *, holder: str) -> str:
        """Return the name of what *write* puts into the file that it is given, for the calling thread's own use.

        Others find it once it is held with :meth:`hold`, or put. What *write* raises is passed on.
        """
        ...

    def hold(self, name: str, *, holder: str) -> None:
        """Keep a blob for *holder* too, where others find it; nothing changes where it does already.

        Raises:
            FileNotFoundError: There is no such blob; :class:`~app.errors.BlobNotHere` where that is said from afar.
        """
        ...

    def get(self, name: str) -> bytes:
        """Return a blob's content; raises as :meth:`hold`."""
        ...

    def path(self, name: str) -> Path:
        """Return where a blob is, if it is there; raises :class:`~app.errors.BlobNotHere` where it must come from afar and does not."""
        ...

    def drop(self, holder: str, name: str | None = None) -> None:
        """Forget that *holder* held a blob, or all that it held."""
        ...

    def holders(self, *, older_than_s: float = 0.0) -> Iterator[str]:
        """Yield the jobs and files that hold a blob which nobody has held or let go of since *older_than_s* ago."""
        ...

    def sweep(self, *, older_than_s: float = 3600.0) -> int:
        """Remove what nobody needs; return how many blobs."""
        ...

    def clear(self) -> int:
        """Remove what nobody needs, however new; return how many blobs."""
        ...
