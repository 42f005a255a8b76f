"""What was asked of jobs, for those who come back to it: requests and what they read in the spool; and deletion."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from app.errors import IllegalTransition, JobNotFound
from app.jobs import keys
from app.jobs.connection import store_errors
from app.jobs.record import TERMINAL, Job

if TYPE_CHECKING:
    from app.jobs.store import JobStore

__all__ = ["PastJob", "PastJobs"]


class PastJob(NamedTuple):
    """A job and what was asked of it."""

    job: Job
    request: dict[str, Any]
    blobs: tuple[str, ...]


class PastJobs:
    """Jobs of one store, whatever their state. Synchronous and thread-safe."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def get(self, job_id: str) -> PastJob:
        """Return a job with its request; :class:`JobNotFound` when there is none."""
        with store_errors():
            request, blobs = cast("list[str | None]", self._store.client.hmget(keys.job(job_id), ["request", "blobs"]))
        return PastJob(self._store.get(job_id), json.loads(request or "{}"), tuple(json.loads(blobs or "[]")))

    def hold(self, blobs: Iterable[str], *, holder: str) -> None:
        """Keep what a past job read in the spool for another one, *holder*, that is about to be submitted.

        Raises:
            FileNotFoundError: It has left the spool with its job.
        """
        for blob in blobs:
            self._store.spool.hold(blob, holder=holder)

    def delete(self, job_id: str) -> None:
        """Remove a job that has ended, and its children with it.

        Raises:
            JobNotFound: There is no such job.
            IllegalTransition: It has not ended.
        """
        with store_errors():
            state = cast("str | None", self._store.client.hget(keys.job(job_id), "state"))
        if state is None:
            raise JobNotFound(job_id)
        if state not in TERMINAL:
            raise IllegalTransition(job_id, state, "deleted")
        self._store.forget(job_id)
