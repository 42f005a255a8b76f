"""Removing what was asked and answered, for good: ended jobs with their children, uploaded files, and their blobs.

Jobs that have not ended stay, unless they are cancelled first. What a running
worker still writes of a job that was cancelled is refused by the store, and a
blob of such a write goes with the worker's next sweep, within the hour or so.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from app.errors import JobNotFound
from app.jobs import keys
from app.jobs.connection import store_errors
from app.jobs.files import FileStore
from app.jobs.record import JobState

if TYPE_CHECKING:
    import redis

    from app.jobs.store import JobStore

__all__ = ["Purged", "cancel_all", "count_old", "purge", "rewrite_journal"]

_POLL_S = 0.1


class Purged(NamedTuple):
    """How much there is, or was, to remove."""

    jobs: int
    files: int


def cancel_all(store: JobStore) -> int:
    """Cancel every job that has not ended, and what is still to be told of jobs; return how many."""
    count = 0
    for index in (keys.state_index, keys.delivery_index):  # these last: some come of what is cancelled
        with store_errors():
            pipe = store.client.pipeline(transaction=True)  # at one moment: jobs, and deliveries more so, go from one to the other and back
            for state in (JobState.QUEUED, JobState.RUNNING):
                pipe.zrange(index(state), 0, -1)
            queued, running = cast("list[list[str]]", pipe.execute())
        for job_id in (*queued, *running):
            with contextlib.suppress(JobNotFound):  # it has ended meanwhile, and been forgotten
                store.cancel(job_id)
                count += 1
    return count


def count_old(store: JobStore, older_than_s: float) -> Purged:
    """Return how many jobs ended, and how many files came, longer ago than that."""
    with store_errors():
        pipe = store.client.pipeline(transaction=False)
        limit = store.now() - older_than_s
        for index in (keys.ENDED_WAITED, keys.ENDED_SUBMITTED, keys.FILES):
            pipe.zcount(index, "-inf", limit)
        waited, submitted, files = cast("list[int]", pipe.execute())
    return Purged(waited + submitted, files)


def purge(store: JobStore, older_than_s: float) -> Purged:
    """Remove jobs that ended, and files that came, longer ago than that; return how many."""
    with store_errors():
        limit = store.now() - older_than_s
        waited, submitted, files = (
            cast("list[str]", store.client.zrangebyscore(index, "-inf", limit))
            for index in (keys.ENDED_WAITED, keys.ENDED_SUBMITTED, keys.FILES)
        )
    for job_id in (*waited, *submitted):
        store.forget(job_id)
    kept = FileStore(store)
    for file_id in files:
        kept.forget(file_id)
    store.spool.clear()
    return Purged(len(waited) + len(submitted), len(files))


def rewrite_journal(client: redis.Redis, patience_s: float) -> bool:
    """Have the server write its append-only file anew, without what was removed; return whether that was done in time.

    A rewrite that is under way already may have begun before the removal, so it is waited for.
    """
    deadline_s = time.monotonic() + patience_s
    with store_errors():
        if not _wait_for_rewrite(client, deadline_s):
            return False
        client.bgrewriteaof()
        return _wait_for_rewrite(client, deadline_s)


def _wait_for_rewrite(client: redis.Redis, deadline_s: float) -> bool:
    while True:
        facts: dict[str, Any] = client.info("persistence")
        if not facts["aof_rewrite_in_progress"] and not facts["aof_rewrite_scheduled"]:
            return str(facts["aof_last_bgrewrite_status"]) == "ok"
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
