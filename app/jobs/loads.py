"""Claims of loads: of several workers on one Redis, one loads a model that all of them are asked for.

A claim is a field of one hash and lives as long as its worker's heartbeat. It
ends in the transaction in which that worker says what came of the load, so
nobody ever sees a model that is neither being loaded nor in memory. Deciding
who loads what is not done here; a claim only says who was first.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.jobs.store import JobStore

__all__ = ["Loads"]


class Loads:
    """The claims of one worker. Thread-safe; one thread claims, and one says what became of it.

    Args:
        store: Has them.
        worker_id: Whose they are.
    """

    def __init__(self, store: JobStore, worker_id: str) -> None:
        self._store = store
        self._worker_id = worker_id
        self._held: dict[str, str] = {}  # model to token; also where nobody knows whether the claim was granted
        self._over: set[tuple[str, str]] = set()  # of loads that have ended, and nobody was told yet
        self._lock = threading.Lock()

    def claim(self, model: str, aware: Collection[str]) -> bool:
        """Take the load of *model*, and return whether it may begin.

        It may not while another living worker loads the model, nor where one has it in memory that is not among *aware*.
        After an error nobody knows: the claim is held until :meth:`end`, or claimed again.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        token = secrets.token_hex(4)
        with self._lock:
            self._held[model] = token
        said = self._store.moves("claim_load", {"model": model, "worker": self._worker_id, "token": token, "aware": sorted(aware)})
        if said[0] != "claimed":
            with self._lock:
                self._held.pop(model, None)
        return bool(said[0] == "claimed")

    def end(self, model: str) -> None:
        """Note that a load is over, now that what came of it has been reported; others are told in the same transaction."""
        with self._lock:
            token = self._held.pop(model, None)
            if token is not None:
                self._over.add((model, token))

    def over(self) -> frozenset[tuple[str, str]]:
        """Return the loads that have ended. What is read after this of what was reported says how."""
        with self._lock:
            return frozenset(self._over)

    def queue(self, pipe: Any, over: Collection[tuple[str, str]]) -> None:  # noqa: ANN401 - a redis pipeline
        """Add the end of these claims to *pipe*."""
        for model, token in over:
            self._store.moves.queue(pipe, "end_load", {"model": model, "worker": self._worker_id, "token": token})

    def delivered(self, over: Collection[tuple[str, str]]) -> None:
        """Note that these are in the store."""
        with self._lock:
            self._over.difference_update(over)
