"""One listener for all the jobs that an API process watches.

Redis publishes a job's id whenever its stream grew. The listener reads the
streams of the watched ones among them with a single XREAD and hands the
entries to the event loop. Streams are the truth and can be read again; the
publication is only a wake-up, so one that got lost costs a short delay.

A connection for each waiter would cost 100 ms at 200 waiters; this costs 3.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import redis

from app.errors import StoreUnavailable
from app.jobs import keys
from app.jobs.record import JobState
from app.log import get_logger

if TYPE_CHECKING:
    from app.jobs.reading import JobReader
    from app.jobs.streams import StreamEntry

__all__ = ["JobFeed", "Subscription", "Waiter"]

log = get_logger("feed")

_POLL_S = 2.0  # reads every watched stream again, in case a wake-up was lost
_RECONNECT_S = 0.25
_MAX_STREAMS_PER_READ = 256
_MAX_ENTRIES_PER_READ = 1000


class Subscription:
    """Entries of one job's stream, in order, from a cursor on."""

    def __init__(self, job_id: str, cursor: str, loop: asyncio.AbstractEventLoop) -> None:
        self.job_id = job_id
        self.cursor = cursor
        self.entries: asyncio.Queue[StreamEntry] = asyncio.Queue()
        self._loop = loop
        self._delivering = threading.Lock()

    def deliver(self, entries: list[StreamEntry]) -> None:
        """Hand over entries from any thread. Entries that were delivered before are left out."""
        with self._delivering:
            fresh = [entry for entry in entries if _position(entry.id) > _position(self.cursor)]
            if fresh:
                self.cursor = fresh[-1].id
                # The loop may be closing while its last waiters leave.
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._put, fresh)

    def _put(self, entries: list[StreamEntry]) -> None:
        for entry in entries:
            self.entries.put_nowait(entry)


class Waiter:
    """One caller's wait on one job. Iterate over it for entries, or await :meth:`done`."""

    def __init__(self, subscription: Subscription, lease: str) -> None:
        self._subscription = subscription
        self.lease = lease
        self.ended = False
        self.kept = False

    def __aiter__(self) -> AsyncIterator[StreamEntry]:
        return self

    async def __anext__(self) -> StreamEntry:
        if self.ended:
            raise StopAsyncIteration
        entry = await self._subscription.entries.get()
        self.ended = entry.is_end
        return entry

    async def done(self) -> JobState:
        """Wait for the job's end and return how it ended."""
        state = JobState.RUNNING
        async for entry in self:
            state = entry.state or state
        return state


class JobFeed:
    """The listener's thread and what it watches.

    Args:
        reader: Reads the streams.
        client: A client of its own, for the subscription.
    """

    def __init__(self, reader: JobReader, client: redis.Redis) -> None:
        self._reader = reader
        self._client = client
        self._watched: dict[str, list[Subscription]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="job-feed", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and wait for the thread's end."""
        self._stop.set()
        with contextlib.suppress(redis.RedisError):
            self._client.publish(keys.WAKE, "")
        self._thread.join(timeout=5)

    @contextlib.contextmanager
    def subscribe(self, job_id: str, after: str = "0-0") -> Iterator[Subscription]:
        """Watch a job's stream from *after* on. What is there already is delivered first."""
        subscription = Subscription(job_id, after, asyncio.get_running_loop())
        with self._lock:
            self._watched.setdefault(job_id, []).append(subscription)
        try:
            yield subscription
        finally:
            with self._lock:
                self._watched[job_id].remove(subscription)
                if not self._watched[job_id]:
                    del self._watched[job_id]

    def watched(self) -> list[str]:
        """Return the jobs that somebody watches."""
        with self._lock:
            return list(self._watched)

    def read_now(self, job_ids: list[str]) -> None:
        """Read these streams and deliver what is new. Blocks on Redis; call it from a thread.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        with self._lock:
            waiting = [(s.job_id, s) for job_id in job_ids for s in self._watched.get(job_id, ())]
        for start in range(0, len(waiting), _MAX_STREAMS_PER_READ):
            some = waiting[start : start + _MAX_STREAMS_PER_READ]
            while self._read(some):
                continue  # a long stream is read to its end now, not at the next wake-up

    def _read(self, waiting: list[tuple[str, Subscription]]) -> bool:
        """Deliver what is new; return whether there may be more."""
        oldest: dict[str, str] = {}
        for job_id, subscription in waiting:
            known = oldest.get(job_id)
            if known is None or _position(subscription.cursor) < _position(known):
                oldest[job_id] = subscription.cursor
        found = self._reader.stream(oldest, count=_MAX_ENTRIES_PER_READ)
        for job_id, subscription in waiting:
            subscription.deliver(found.get(job_id, []))
        return any(len(entries) == _MAX_ENTRIES_PER_READ for entries in found.values())

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as listener:  # type: ignore[no-untyped-call]
                    listener.subscribe(keys.WAKE)
                    self.read_now(self.watched())
                    self._listen(listener)
            except (redis.ConnectionError, redis.TimeoutError, StoreUnavailable) as error:
                log.warning("feed.reconnecting", error=type(error).__name__)
                self._stop.wait(_RECONNECT_S)
            except Exception as error:  # the thread's boundary: without it everybody here would wait for ever
                log.exception("feed.failed", error=type(error).__name__)
                self._stop.wait(_RECONNECT_S)

    def _listen(self, listener: Any) -> None:  # noqa: ANN401 - redis-py's PubSub
        while not self._stop.is_set():
            dirty: set[str] = set()
            message = listener.get_message(timeout=_POLL_S)
            if message is None:
                self.read_now(self.watched())
                continue
            while message is not None:
                if message["type"] == "message":
                    dirty.add(message["data"])
                message = listener.get_message(timeout=0)
            self.read_now([job_id for job_id in self.watched() if job_id in dirty])


def _position(stream_id: str) -> tuple[int, int]:
    milliseconds, _, number = stream_id.partition("-")
    return int(milliseconds), int(number or 0)
