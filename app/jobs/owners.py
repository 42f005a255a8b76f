"""Whose a job is, and how often its owner asks. Owners are API keys, by name: who has the name later has the jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.errors import JobNotFound
from app.jobs import keys
from app.jobs.connection import store_errors

if TYPE_CHECKING:
    from app.exposure import Rate
    from app.jobs.store import JobStore

__all__ = ["Owners"]


class Owners:
    """Owners of the jobs of one store. Synchronous and thread-safe."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def check(self, job_id: str, owner: str) -> None:
        """Let a job pass that is *owner*'s.

        Raises:
            JobNotFound: It is another's, or there is none: who may not see a job does not learn that it is there.
        """
        with store_errors():
            if self._store.client.hget(keys.job(job_id), "owner") != owner:
                raise JobNotFound(job_id)

    def spend(self, caller: str, rate: Rate) -> float:
        """Count one more request of *caller*; return for how many seconds it must wait, 0 where it need not."""
        _, wait_s = self._store.moves("spend", {"caller": caller, "most": rate.most, "window_s": rate.window_s})
        return float(wait_s)
