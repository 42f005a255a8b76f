"""The worker's side of the broker: consumers with a gate, which sleep until they are woken.

A stock consumer polls with growing pauses, up to a second late. This one
waits for an event that an enqueue (through the control channel), an
acknowledgement or an opening gate sets, with a long poll as fallback.

A **gate** says how many messages of a queue may be in this process. Closed
(0), nothing is fetched; what was fetched before goes on to its end, and counts
as fetched until it is acknowledged. A **pause** closes a queue for a while, whatever its gate says.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import redis
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.redis import _RedisConsumer
from dramatiq.errors import ConnectionClosed
from dramatiq.message import Message

from app.jobs.broker import InferenceBroker

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["WakeConsumer", "WorkerBroker"]

_POLL_S = 30.0


class WakeConsumer(_RedisConsumer):
    """Fetches when woken; stock fetch, stock scripts, stock acknowledgements.

    Args:
        broker: This process's.
        queue_name: What to fetch from.
        limit: How many messages may be fetched and unfinished.
        timeout: Dramatiq's, unused.
    """

    def __init__(self, broker: WorkerBroker, queue_name: str, limit: int, timeout: int) -> None:
        super().__init__(broker, queue_name, limit, timeout)  # type: ignore[no-untyped-call]
        self._limit = limit
        self._fetching = threading.Lock()
        self.event = threading.Event()
        self.closing = False
        self.known: set[str] = set()  # Redis ids of messages that this process has fetched and not finished
        self._orphans: set[str] = set()

    def __next__(self) -> MessageProxy | None:
        # Cleared before the fetch: a wake-up in between is seen by the wait below.
        self.event.clear()
        if not self.message_cache and not self.closing:
            self._fetch()
        if self.message_cache:
            message: Message[Any] = Message.decode(self.message_cache.pop(0))
            self.queued_message_ids.add(message.message_id)
            return MessageProxy(message)
        self.event.wait(0 if self.closing else _POLL_S)
        return None

    def _fetch(self) -> None:
        with self._fetching:
            room = self._limit - self.outstanding_message_count
            if room <= 0:
                return
            try:
                fetched = [data for data in self.broker.do_fetch(self.queue_name, room) if data is not None]
            except redis.RedisError as error:
                raise ConnectionClosed(error) from None
            self.known.update(Message.decode(data).options["redis_message_id"] for data in fetched)
        self.message_cache = fetched

    def set_limit(self, limit: int) -> None:
        """Open or close the gate. Once this returns with a limit of 0, no more is fetched, and :attr:`known` has all that was."""
        opened = limit > self._limit
        self._limit = limit
        with self._fetching:  # a fetch that read the old limit has ended
            pass
        if opened:
            self.event.set()

    def ack(self, message: MessageProxy) -> None:
        """Acknowledge, and fetch again: there is room for one more."""
        with _as_closed():
            super().ack(message)  # type: ignore[no-untyped-call]
        self._done(message)

    def nack(self, message: MessageProxy) -> None:
        """Reject, and fetch again."""
        with _as_closed():
            super().nack(message)  # type: ignore[no-untyped-call]
        self._done(message)

    def _done(self, message: MessageProxy) -> None:
        self.known.discard(message.options["redis_message_id"])
        self.event.set()
        cast("WorkerBroker", self.broker).acknowledged(len(self.known))

    def adopt_orphans(self) -> int:
        """Give back messages that Redis says we hold and we never received: the answer of a fetch was lost.

        A message counts as lost when two passes in a row have missed it: in
        one it may be on its way.
        """
        broker = cast("WorkerBroker", self.broker)
        missing = broker.held(self.queue_name) - self.known
        lost, self._orphans = missing & self._orphans, missing
        if lost:
            broker.do_requeue(self.queue_name, *lost)
            self.event.set()
        return len(lost)


@contextlib.contextmanager
def _as_closed() -> Iterator[None]:
    """Let Dramatiq try an acknowledgement again, whatever kept Redis from it: full memory and a failed disk pass too."""
    try:
        yield
    except redis.RedisError as error:
        raise ConnectionClosed(error) from None


class WorkerBroker(InferenceBroker):
    """The broker of a worker process.

    Args:
        settings: Say where Redis is.
        broker_id: See :class:`InferenceBroker`.
        limit: How wide the gate of a queue is before anybody sets it.
        acknowledged: Told, after each acknowledgement, how many messages of that queue are left here; must be quick.
    """

    def __init__(
        self, settings: Settings, *, broker_id: str, limit: Callable[[str], int], acknowledged: Callable[[int], None] = lambda _: None
    ) -> None:
        super().__init__(settings, broker_id=broker_id)
        self._first_limit = limit
        self.acknowledged = acknowledged
        self._limits: dict[str, int] = {}
        self._paused: dict[str, float] = {}  # until when, by the monotonic clock
        self._consumers: dict[str, WakeConsumer] = {}
        self._consumers_lock = threading.Lock()

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:  # noqa: ARG002 - Dramatiq's signature
        """Return the queue's consumer.

        Dramatiq asks again after a connection error. It gets the same one back, because that still
        has messages that were fetched before.
        """
        with self._consumers_lock:
            if queue_name not in self._consumers:
                self._consumers[queue_name] = WakeConsumer(self, queue_name, self.limit_of(queue_name), timeout)
            return self._consumers[queue_name]

    def limit_of(self, queue_name: str) -> int:
        """Return how many messages of a queue may be in this process; 0 where its gate is closed."""
        return 0 if self.paused(queue_name) else self._limits.get(queue_name, self._first_limit(queue_name))

    def set_limit(self, queue_name: str, limit: int) -> None:
        """Open or close a queue's gate; see :meth:`WakeConsumer.set_limit`."""
        with self._consumers_lock:
            if self._limits.get(queue_name, self._first_limit(queue_name)) == limit:
                return
            self._limits[queue_name] = limit
            consumer = None if self.paused(queue_name) else self._consumers.get(queue_name)
        if consumer is not None:
            consumer.set_limit(limit)

    def pause(self, queue_name: str, seconds: float) -> None:
        """Fetch nothing from a queue for a while, whatever its gate says: what waits there is for others."""
        with self._consumers_lock:
            self._paused[queue_name] = max(time.monotonic() + seconds, self._paused.get(queue_name, 0.0))
            consumer = self._consumers.get(queue_name)
        if consumer is not None:
            consumer.set_limit(0)

    def paused(self, queue_name: str) -> bool:
        """Whether nothing is fetched from a queue for now."""
        return queue_name in self._paused

    def resume(self) -> list[str]:
        """Let the queues go on whose pause is over, and return them."""
        with self._consumers_lock:
            over = [name for name, until_s in self._paused.items() if time.monotonic() >= until_s]
            for name in over:
                del self._paused[name]
            consumers = [(self._consumers.get(name), self.limit_of(name)) for name in over]
        for consumer, limit in consumers:
            if consumer is not None:
                consumer.set_limit(limit)
        return over

    def fetched(self, queue_name: str) -> int:
        """Return how many messages of a queue this process has fetched and not acknowledged."""
        consumer = self._consumers.get(queue_name)
        return len(consumer.known) if consumer is not None else 0

    def wake(self, queue_name: str) -> None:
        """Let a queue's consumer look for messages."""
        consumer = self._consumers.get(queue_name)
        if consumer:
            consumer.event.set()

    def wake_all(self) -> None:
        """Let every consumer look for messages."""
        for queue_name in list(self._consumers):
            self.wake(queue_name)

    def close_consumers(self) -> None:
        """Fetch nothing more."""
        for consumer in list(self._consumers.values()):
            consumer.closing = True
            consumer.event.set()

    def adopt_orphans(self) -> int:
        """Give back what no consumer received; return how many messages."""
        return sum(consumer.adopt_orphans() for consumer in list(self._consumers.values()))
