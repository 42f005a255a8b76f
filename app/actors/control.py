"""The worker's ear: cancellations and wake-ups as they are published, and a look at the records every few seconds.

A publication is lost when nobody listens, so nothing depends on one: the
periodic look finds queues, cancelled jobs and messages all the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import redis

from app.errors import StoreUnavailable
from app.jobs import keys
from app.log import get_logger

if TYPE_CHECKING:
    from app.actors.consumer import WorkerBroker

__all__ = ["Control", "declare_known_queues"]

log = get_logger("worker.control")

_RECONNECT_S = 0.25
_LISTEN_S = 1.0


def declare_known_queues(client: redis.Redis, broker: WorkerBroker) -> None:
    """Declare every queue that was ever used, so that what waits there is fetched."""
    for queue in sorted(cast("set[str]", client.smembers(keys.QUEUES))):
        broker.declare_queue(queue)


class Control:
    """Listens on the control channel and runs periodic work, on one thread.

    Args:
        client: Of its own, for the subscription; text.
        broker: Woken, and told of new queues.
        cancel: Called with a job id.
        arrived: Called with the name of a queue that has a new message.
        wished: Called when somebody wants something of a model.
        heard: Called with the id of a worker that says something new of itself.
        chores: Periodic work: seconds between runs, and what to run.
    """

    def __init__(
        self,
        client: redis.Redis,
        broker: WorkerBroker,
        cancel: Callable[[str], None],
        arrived: Callable[[str], None],
        wished: Callable[[], None],
        heard: Callable[[str], None],
        chores: list[tuple[float, Callable[[], object]]],
    ) -> None:
        self._client = client
        self._broker = broker
        self._cancel = cancel
        self._arrived = arrived
        self._wished = wished
        self._heard = heard
        self._chores = [[0.0, every_s, chore] for every_s, chore in chores]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening. The thread ends within a second or so."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as listener:  # type: ignore[no-untyped-call]
                    listener.subscribe(keys.CONTROL)
                    declare_known_queues(self._client, self._broker)
                    self._broker.wake_all()
                    self._listen(listener)
            except (redis.RedisError, StoreUnavailable) as error:
                log.warning("control.reconnecting", error=type(error).__name__)
                self._stop.wait(_RECONNECT_S)

    @staticmethod
    def _attempt(what: Callable[[], object]) -> None:
        """Do *what*, which may fail: without this thread nothing is cancelled, announced late or given back any more."""
        try:
            what()
        except (redis.ConnectionError, redis.TimeoutError, StoreUnavailable):
            raise
        except Exception as error:
            log.exception("control.failed", error=type(error).__name__)

    def _listen(self, listener: Any) -> None:  # noqa: ANN401 - redis-py's PubSub
        while not self._stop.is_set():
            message = listener.get_message(timeout=_LISTEN_S)
            if message and message["type"] == "message":
                self._attempt(partial(self._obey, message["data"]))
            now = time.monotonic()
            for entry in self._chores:
                due_s, every_s, chore = cast("tuple[float, float, Callable[[], object]]", entry)
                if now >= due_s:
                    entry[0] = now + every_s
                    self._attempt(chore)

    def _obey(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        if word == "queue":
            self._broker.declare_queue(rest)
            self._broker.wake(rest)
            self._arrived(rest)
        elif word == "cancel":
            self._cancel(rest)
        elif word == "wish":
            self._wished()
        elif word == "worker":
            self._heard(rest)
