"""The queues of this worker, and what users want of models, as the scheduler knows them: by model and lane, not by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from app.jobs import keys
from app.jobs.record import Lane
from app.jobs.wishes import Wish, Wishes

if TYPE_CHECKING:
    from app.actors.consumer import WorkerBroker
    from app.jobs.reading import QueueHead
    from app.jobs.store import JobStore
    from app.models.catalog import Catalog

__all__ = ["QueueGates"]


class QueueGates:
    """Opens and closes queues, and says what waits in them and what is wanted.

    Args:
        broker: Has the consumers.
        store: Knows what waits.
        catalog: The models of this moment.
    """

    def __init__(self, broker: WorkerBroker, store: JobStore, catalog: Callable[[], Catalog]) -> None:
        self._broker = broker
        self._store = store
        self._catalog = catalog
        self._wishes = Wishes(store)

    def set_limit(self, model: str, lane: Lane, limit: int) -> None:
        """Let at most *limit* messages of a queue be in this process; once this returns with 0, nothing more is fetched."""
        self._broker.set_limit(keys.queue_name(model, lane), limit)

    def fetched(self, model: str, lane: Lane) -> int:
        """Return how many messages of a queue are in this process: their jobs run, or are about to."""
        return self._broker.fetched(keys.queue_name(model, lane))

    def backlog(self) -> Mapping[str, Mapping[Lane, QueueHead]]:
        """Return what waits in Redis, by model and lane.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        heads = self._store.backlogs()
        if not heads:
            return {}
        found: dict[str, dict[Lane, QueueHead]] = {}
        for spec in self._catalog():
            for lane in Lane:
                name = keys.queue_name(spec.id, lane)
                head = heads.get(name)
                if head is not None and not self._broker.paused(name):  # what is left to others for now is nothing to load a model for
                    found.setdefault(spec.id, {})[lane] = head
        return found

    def wishes(self) -> Mapping[str, Wish]:
        """Return what users want of models.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        return self._wishes.all()

    def settle(self, model: str, wish: Wish, new: Wish | None) -> None:
        """Note what became of a wish; None: it is granted, or void."""
        self._wishes.replace(model, wish, new)
