"""The other workers of the same Redis, as the scheduler knows them: from their entries to values, and the claims of loads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from app.jobs.machines import read_absent
from app.scheduler.others import Peer

if TYPE_CHECKING:
    from app.actors.presence import Presence
    from app.jobs.loads import Loads
    from app.jobs.store import JobStore
    from app.jobs.workers import WorkerModels
    from app.scheduler.elsewhere import Stock

__all__ = ["StorePeers"]


class StorePeers:
    """Looks at the others, and tells them of this one.

    Args:
        store: Has their entries.
        worker_id: This worker's.
        loads: Has the claims.
        presence: Tells.
        main_lives: Told, after each look, whether a worker lives where the jobs are.
    """

    def __init__(self, store: JobStore, worker_id: str, loads: Loads, presence: Presence, main_lives: Callable[[bool], None]) -> None:
        self._store = store
        self._worker_id = worker_id
        self._loads = loads
        self._presence = presence
        self._main_lives = main_lives

    def look(self) -> Sequence[Peer]:
        """Return the others that live.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        others = [_peer(one) for one in self._store.workers_with_models() if one.worker.id != self._worker_id]
        self._main_lives(any(not one.remote for one in others))
        return others

    def absent(self) -> Sequence[Peer]:
        """Return those that may come back.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        living = {worker.home for worker in self._store.workers()} | {self._worker_id.partition("-")[0]}
        return [Peer(home, budget_bytes=one.budget_bytes, has=one.has) for home, one in read_absent(self._store, living).items()]

    def claim_load(self, model: str, aware: Collection[str]) -> bool:
        """Take the load of a model, and return whether it may begin; see :meth:`Loads.claim`."""
        return self._loads.claim(model, aware)

    def end_load(self, model: str) -> None:
        """Note that a load is over; see :meth:`Loads.end`."""
        self._loads.end(model)
        self._presence.hasten()

    def tell(self, stock: Stock) -> None:
        """Tell them what is here."""
        self._presence.report_stock(stock.has, stock.fetches)


def _peer(said: WorkerModels) -> Peer:
    worker = said.worker
    resident = {model: state for model, state in said.models.items() if state.state == "resident"}
    return Peer(
        worker.id,
        remote=worker.remote,
        budget_bytes=worker.budget_bytes,
        has=worker.has,
        fetches=frozenset(worker.fetches or ()),
        # One with a reason for its jobs' waiting makes room for another, or lacks it.
        warm={model: 0.0 for model, state in resident.items() if not state.reason},
        resident=frozenset(resident),
        loading=frozenset(model for model, state in said.models.items() if state.state == "loading"),
        began_at=worker.started_at.timestamp() - worker.clock_offset_s,
    )
