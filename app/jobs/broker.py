"""Dramatiq's Redis broker, made prompt, safe and recoverable through its public seams.

What differs from the stock broker:

* its client never repeats a command (see :mod:`app.jobs.connection`);
* an enqueue publishes a wake-up, so an idle consumer starts in milliseconds
  and sleeps otherwise;
* maintenance is deterministic: it happens when asked for, not by chance;
* messages that a dead worker had fetched go back to the front of their queue;
* who is dead is told by the clock of Redis: Dramatiq compares those of the machines;
* there are no delay queues.

A message is an id: job and announce number, for one actor named ``run_job``.
This is the only module that knows Dramatiq's keys.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.message import Message

from app.jobs import keys
from app.jobs.connection import connect_broker, store_errors

if TYPE_CHECKING:
    from redis.commands.core import Script

    from app.jobs.claims import Unannounced
    from app.jobs.store import JobStore
    from app.settings import Settings

__all__ = ["ACTOR", "Announcer", "InferenceBroker", "declare_actor"]

ACTOR: Final = "run_job"
_NAMESPACE: Final = "dramatiq"
_HEARTBEAT_TIMEOUT_MS: Final = 30_000

# Dramatiq would push a dead worker's messages to the back of the queue. ARGV: message ids, oldest last.
_TO_FRONT: Final = """
local moved = 0
for _, id in ipairs(ARGV) do
  if redis.call('SREM', KEYS[1], id) == 1 and redis.call('HEXISTS', KEYS[3], id) == 1 then
    redis.call('LPUSH', KEYS[2], id)
    moved = moved + 1
  end
end
return moved
"""


class InferenceBroker(RedisBroker):
    """A broker for one process.

    Args:
        settings: Say where Redis is.
        broker_id: Names this process among the consumers; a worker's id begins with ``worker:``.
        middleware: Of Dramatiq; none by default, because retries, time limits and results are the job store's.
    """

    def __init__(self, settings: Settings, *, broker_id: str, middleware: list[dramatiq.Middleware] | None = None) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            client=connect_broker(settings),
            namespace=_NAMESPACE,
            heartbeat_timeout=_HEARTBEAT_TIMEOUT_MS,
            middleware=middleware or [],
        )
        self.broker_id = broker_id
        self._to_front = self.client.register_script(_TO_FRONT)
        self._declaring = threading.Lock()
        self._ahead_ms: int | None = None  # of Redis's clock this machine's is; None: nobody has looked
        self.scripts["dispatch"] = partial(self._dispatch_by_redis, self.scripts["dispatch"])

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue, and no delay queue with it: waiting is the job store's business."""
        with self._declaring:
            if queue_name in self.queues:
                return
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
        self.emit_after("declare_queue", queue_name)

    def _dispatch_by_redis(self, script: Script, *, args: list[Any], keys: list[str]) -> Any:  # noqa: ANN401 - whatever the command answers
        """Run Dramatiq's script with the time of Redis as its timestamp."""
        command, local_ms, *rest = args
        if self._ahead_ms is None:
            self._read_clock()
        return script(args=[command, local_ms - (self._ahead_ms or 0), *rest], keys=keys)

    def _read_clock(self) -> None:
        seconds, micros = self.client.time()
        self._ahead_ms = round(time.time() * 1000) - (seconds * 1000 + micros // 1000)

    def _should_do_maintenance(self, command: str) -> int:
        return int(command == "qsize")

    def announce(self, queue: str, job_id: str, announce: int, *, front: bool = False) -> str:
        """Put a message about a job into *queue* and wake its consumers.

        Args:
            queue: Name of the queue.
            job_id: The job.
            announce: Number of this announcement; the claim compares it with the record's.
            front: The job has waited its turn before: do not make it wait again.

        Returns:
            The message's id in Redis.
        """
        message: Message[Any] = Message(queue_name=queue, actor_name=ACTOR, args=(job_id, announce), kwargs={}, options={})
        sent = self.enqueue(message)
        if front:
            # Should another enqueue come between, its message is moved instead: no harm either way.
            self.client.lmove(self._list(queue), self._list(queue), "RIGHT", "LEFT")
        self.client.publish(keys.CONTROL, f"queue {queue}")
        return cast("str", sent.options["redis_message_id"])

    def missing(self, queue: str, messages: list[str]) -> list[str]:
        """Return those of *messages* that the broker does not hold any more."""
        pipe = self.client.pipeline(transaction=False)
        for message in messages:
            pipe.hexists(f"{self._list(queue)}.msgs", message)
        return [message for message, found in zip(messages, pipe.execute(), strict=True) if not found]

    def held(self, queue: str) -> set[str]:
        """Return the ids of the messages that Redis counts as fetched by this broker and not finished."""
        found = cast("set[bytes]", self.client.smembers(f"{_NAMESPACE}:__acks__.{self.broker_id}.{queue}"))
        return {message.decode() for message in found}

    def recover(self, dead_broker: str) -> int:
        """Put what *dead_broker* had fetched back to the front of its queues; return how many messages."""
        moved = 0
        for queue in sorted(self.queues):
            acks = f"{_NAMESPACE}:__acks__.{dead_broker}.{queue}"
            ids = list(cast("set[bytes]", self.client.smembers(acks)))
            if ids:
                bodies = cast("list[bytes | None]", self.client.hmget(f"{self._list(queue)}.msgs", ids))
                ages = {i: Message.decode(body).message_timestamp for i, body in zip(ids, bodies, strict=True) if body}
                newest_first = sorted(ids, key=lambda i: ages.get(i, 0), reverse=True)
                moved += int(self._to_front(keys=[acks, self._list(queue), f"{self._list(queue)}.msgs"], args=newest_first))
            self.client.delete(acks)
        self.client.zrem(f"{_NAMESPACE}:__heartbeats__", dead_broker)
        return moved

    def brokers(self) -> list[str]:
        """Return the ids of all brokers that Redis has heard of."""
        return [name.decode() for name in cast("list[bytes]", self.client.zrange(f"{_NAMESPACE}:__heartbeats__", 0, -1))]

    def reap(self) -> None:
        """Send a heartbeat, and give back what brokers without one had fetched.

        Brokers of API processes fetch nothing. They are struck from the list first, because Dramatiq
        searches every key of Redis for the acknowledgements of a dead one.
        """
        self._read_clock()
        idle = [name for name in self.brokers() if not name.startswith("worker:")]
        if idle:
            self.client.zrem(f"{_NAMESPACE}:__heartbeats__", *idle)
        for queue in sorted(self.queues):
            self.do_qsize(queue)

    @staticmethod
    def _list(queue: str) -> str:
        return f"{_NAMESPACE}:{queue}"


def declare_actor(broker: InferenceBroker, run: Callable[[str, int], None]) -> dramatiq.Actor[[str, int], None]:
    """Register *run* as the actor that every message names.

    No time limit and no retries: Dramatiq's time limit raises between bytecodes and cannot stop a
    kernel, and retries are counted in the job's record.
    """
    options = {"max_retries": 0, "time_limit": float("inf")}
    return dramatiq.Actor(run, broker=broker, actor_name=ACTOR, queue_name=keys.QUARANTINE, priority=0, options=options)


class Announcer:
    """Record first, announce second: what is recorded and not yet announced is announced here.

    The other order would let a fast worker look for a record that is not there yet. A process that
    dies between the two leaves the job in the store's ``unannounced`` set, where the reconciler finds it.
    """

    def __init__(self, broker: InferenceBroker, store: JobStore) -> None:
        self._broker = broker
        self._store = store

    def announce(self, job_id: str, *, front: bool = False) -> bool:
        """Announce one job, if it is queued.

        Args:
            job_id: The job.
            front: Put its message before the others of its queue.

        Raises:
            StoreUnavailable: Redis went away; the job stays unannounced and the reconciler finds it.
        """
        pending = self._store.to_announce(job_id)
        if pending is None:
            return False
        self.announce_as(job_id, pending, front=front)
        return True

    def announce_as(self, job_id: str, pending: Unannounced, *, front: bool = False) -> None:
        """Announce a job whose queue and number are known, as right after its submission."""
        with store_errors():
            message = self._broker.announce(pending.queue, job_id, pending.announce, front=front)
        self._store.announced(job_id, pending.announce, message)
