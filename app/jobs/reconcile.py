"""What keeps promises when a process died at the wrong moment. Each pass is idempotent and may run anywhere, any time.

* A job that was recorded and never announced is announced.
* A queued job whose message is not in the broker any more is announced anew.
* A job that nobody came back for is cancelled.
* A finished job leaves when its time or its room is over, and blobs with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from app.jobs import keys
from app.jobs.retention import Retention
from app.log import get_logger

if TYPE_CHECKING:
    from app.jobs.broker import Announcer, InferenceBroker
    from app.jobs.reading import JobReader
    from app.jobs.store import JobStore
    from app.settings import Settings

__all__ = ["announce_lost", "announce_pending", "expire", "sweep_spool"]

log = get_logger("worker.reconcile")

_SETTLE_S = 1.0  # a submission normally announces within a millisecond of its record
_CHUNK = 500
_KEEP_WAITED_AT_MOST = 10_000
_FETCH_S = 60.0  # what ended so recently may be on its way to its caller


def announce_pending(store: JobStore, announcer: Announcer) -> int:
    """Announce what was recorded a second ago and is still unannounced; return how many."""
    now = store.now()
    due = cast("list[str]", store.client.zrangebyscore(keys.UNANNOUNCED, "-inf", now - _SETTLE_S, start=0, num=_CHUNK))
    count = 0
    for job_id in due:
        count += announcer.announce(job_id)
    if count:
        log.info("jobs.announced_late", count=count)
    return count


def announce_lost(store: JobStore, broker: InferenceBroker, announcer: Announcer) -> int:
    """Announce queued jobs anew whose message the broker does not hold; return how many."""
    count = 0
    for queue in store.queues():
        start = 0
        while page := cast("list[str]", store.client.zrange(keys.queue(queue), start, start + _CHUNK - 1)):
            start += _CHUNK
            pipe = store.client.pipeline(transaction=False)
            for job_id in page:
                pipe.hget(keys.job(job_id), "message")
            held = {message: job_id for job_id, message in zip(page, pipe.execute(), strict=True) if message}
            for message in broker.missing(queue, list(held)):
                if store.reannounce(held[message], message):
                    announcer.announce(held[message])
                    count += 1
    if count:
        log.warning("jobs.messages_lost", count=count)
    return count


def expire(store: JobStore, settings: Settings) -> int:
    """Forget finished jobs past their retention, and the oldest beyond what may be kept; return how many.

    A worker of another machine goes by what the machine that has the jobs wants kept, and forgets nothing before it knows that.
    """
    store.expire_lingering()
    kept = Retention.said(store.client) if settings.api_url else Retention.of(settings)
    return 0 if kept is None else _forget(store, kept)


def _forget(store: JobStore, kept: Retention) -> int:
    now = store.now()
    count = 0
    limits = (
        (keys.ENDED_WAITED, kept.keep_waited_s, min(_KEEP_WAITED_AT_MOST, kept.keep_finished)),
        (keys.ENDED_SUBMITTED, kept.keep_submitted_s, kept.keep_finished),
    )
    crowded = store.used_bytes() > 0.9 * kept.max_redis_bytes
    for index, keep_s, at_most in limits:
        old = cast("list[str]", store.client.zrangebyscore(index, "-inf", now - keep_s, start=0, num=_CHUNK))
        beyond = store.client.zcard(index) - at_most
        oldest = cast("list[str]", store.client.zrange(index, 0, beyond - 1)) if beyond > 0 else []
        if crowded:
            # Close to the limit of bytes what is finished leaves first, oldest first: what is queued never does.
            oldest += cast("list[str]", store.client.zrangebyscore(index, "-inf", now - _FETCH_S, start=0, num=_CHUNK))
        for job_id in dict.fromkeys(old + oldest):
            store.forget(job_id)
            count += 1
    return count


def sweep_spool(store: JobReader, *, older_than_s: float = 3600.0) -> None:
    """Let go of blobs of jobs and files that are gone, then remove the blobs that nobody holds.

    Args:
        store: Whose spool.
        older_than_s: What has been touched since is left: it may be held for a job that is just being submitted.
    """
    for job_id in list(store.spool.holders(older_than_s=older_than_s)):
        if not store.client.exists(keys.job(job_id), keys.file(job_id)):
            store.spool.drop(job_id)
    removed = store.spool.sweep(older_than_s=older_than_s)
    if removed:
        log.info("spool.swept", blobs=removed)
