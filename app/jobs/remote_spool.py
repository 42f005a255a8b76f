"""The spool of another machine, as a worker uses it: what its jobs read is fetched by HTTP, what they make is sent.

Fetched once, into a bounded cache, gone on with where a connection broke, and
checked by its hash. What a job makes for itself alone stays here; what others
are to read is at the API before anything is recorded that names it, and sending
it again does no harm. While the API is away its jobs wait and none fails; what
the API does not have any more fails the job that reads it. An API that refuses
this worker is told of, because others could do the jobs that wait here.

Nothing is let go of from here: the sweep of the machine that has the spool
finds blobs whose jobs are gone.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

from app.errors import BlobNotHere, SpoolUnavailable
from app.jobs.blob_cache import BlobCache
from app.jobs.spool import Spool
from app.jobs.worker_api import WorkerApi
from app.log import get_logger

if TYPE_CHECKING:
    from app.jobs.blobs import Blobs
    from app.settings import Settings

__all__ = ["RemoteSpool", "open_spool"]

log = get_logger("worker.spool")

T = TypeVar("T")
_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # the last one again and again
_REFUSED_TRIES = 3  # then it is meant
_LOOK_S = 1.0  # so often a thread that waits for another one's fetch sees whether its own job is still wanted


@dataclass(slots=True)
class _Use:
    """The work of one thread on one job."""

    withdrawn: threading.Event
    names: set[str] = field(default_factory=set)  # of blobs that stay until its end


_USE: ContextVar[_Use | None] = ContextVar("use", default=None)


def open_spool(settings: Settings, refused: Callable[[str], object] = lambda _: None) -> Blobs:
    """Return the spool that a worker works with: that of its home, or, with an ``api_url``, that of another machine.

    Args:
        settings: Say which.
        refused: Called, perhaps often and by any thread, with the reason why that machine's API will not serve this worker any more.
    """
    if not settings.api_url:
        return Spool(settings.spool_dir)
    return RemoteSpool(WorkerApi(settings), BlobCache(settings.fetched_dir, int(settings.worker_cache)), refused)


class RemoteSpool:
    """Implements :class:`~app.jobs.blobs.Blobs` over an API and a cache."""

    def __init__(self, api: WorkerApi, cache: BlobCache, refused: Callable[[str], object]) -> None:
        self._api = api
        self._refused = refused
        self._cache = cache
        self._guard = threading.Lock()
        self._fetching: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()

    def close(self) -> None:
        """Let go of every connection."""
        self._api.close()

    @contextlib.contextmanager
    def used_by(self, withdrawn: threading.Event) -> Iterator[None]:
        """Let the calling thread work on one job in the block; see :meth:`Blobs.used_by`."""
        use = _Use(withdrawn)
        token = _USE.set(use)
        try:
            yield
        finally:
            _USE.reset(token)
            for name in use.names:
                self._cache.unpin(name)

    def path(self, name: str) -> Path:
        """Return where a blob is, fetched if need be."""
        self._pin(name)
        with self._alone(name):
            return self._cache.find(name) or self._insist(lambda: self._fetch(name))

    def get(self, name: str) -> bytes:
        """Return a blob's content."""
        return self.path(name).read_bytes()

    def _fetch(self, name: str) -> Path:
        part = self._cache.part(name)
        self._cache.pin(name)  # also where no job does
        try:
            self._api.fetch(name, part, _is_withdrawn)
            if _digest(part) != name:
                part.unlink()
                reason = "what came from there was damaged on its way."
                raise SpoolUnavailable(reason)
            return self._cache.place(part, name)
        finally:
            self._cache.unpin(name)

    def put(self, content: bytes, *, holder: str) -> str:
        """Store *content* at the API, held by *holder*, and return its name."""
        return self.put_pieces((content,), holder=holder)

    def put_pieces(self, pieces: Iterable[bytes], *, holder: str) -> str:
        """Store what *pieces* make up; otherwise as :meth:`put`."""

        def write(target: Path) -> None:
            with target.open("wb") as file:
                file.writelines(pieces)

        name = self.put_written(write, holder=holder)
        self.hold(name, holder=holder)
        return name

    def put_written(self, write: Callable[[Path], object], *, holder: str) -> str:  # noqa: ARG002 - nobody else sees it yet
        """Keep what *write* makes here alone, until it is held."""
        written = self._cache.begin()
        try:
            write(written)
            name = _digest(written)
            self._pin(name)
            self._cache.place(written, name)
        finally:
            written.unlink(missing_ok=True)
        return name

    def hold(self, name: str, *, holder: str) -> None:
        """Have a blob kept at the API for *holder* too, and sent there if it is here alone."""
        self._insist(lambda: self._share(name, holder))

    def _share(self, name: str, holder: str) -> None:
        try:
            self._api.hold(name, holder)
        except BlobNotHere:
            file = self._cache.find(name)
            if file is None:
                raise
            self._api.send(name, file, holder, _is_withdrawn)

    def drop(self, holder: str, name: str | None = None) -> None:
        """Leave it to the sweep of the machine that has the spool."""

    def holders(self, *, older_than_s: float = 0.0) -> Iterator[str]:  # noqa: ARG002 - there are none, however old
        """Yield none: who holds what is known where the spool is."""
        return iter(())

    def sweep(self, *, older_than_s: float = 3600.0) -> int:  # noqa: ARG002 - room counts here, not age
        """Remove from the cache what is beyond its bound."""
        return self._cache.trim()

    def clear(self) -> int:
        """Remove from the cache what no job uses now."""
        return self._cache.trim(0)

    def _pin(self, name: str) -> None:
        use = _USE.get()
        if use is not None and name not in use.names:
            use.names.add(name)
            self._cache.pin(name)

    @contextlib.contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Be the only one that fetches a blob."""
        with self._guard:
            lock = self._fetching.setdefault(name, threading.Lock())
        while not lock.acquire(timeout=_LOOK_S):
            if _is_withdrawn():
                raise CancelledError
        try:
            yield
        finally:
            lock.release()

    def _insist(self, attempt: Callable[[], T]) -> T:
        """Try until the API answers, or the job that this is for is wanted no more."""
        tried = 0
        while True:
            try:
                return self._try(attempt)
            except SpoolUnavailable as error:
                use = _USE.get()
                if use is None:
                    raise
                log.warning("spool.waiting", reason=error.reason)
                if error.refuses and tried >= _REFUSED_TRIES:
                    self._refused(error.reason)
                if use.withdrawn.wait(_PAUSES_S[min(tried, len(_PAUSES_S) - 1)]):
                    raise CancelledError from None
                tried += 1

    def _try(self, attempt: Callable[[], T]) -> T:
        try:
            return attempt()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self._cache.trim(0)
            reason = "the disk of this worker is full."
            raise SpoolUnavailable(reason) from error


def _is_withdrawn() -> bool:
    use = _USE.get()
    return use is not None and use.withdrawn.is_set()


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
