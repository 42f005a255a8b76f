"""Finding jobs among many, a page at a time, with bounded work for each.

A page looks at so many records and no further, whatever it finds: a filter
that hardly anything passes gives short pages, and the cursor to look on from.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from pydantic import BaseModel

from app.errors import JobNotFound
from app.jobs import keys
from app.jobs.connection import store_errors
from app.jobs.record import Job, JobKind, JobState, Lane

if TYPE_CHECKING:
    from app.jobs.reading import JobReader

__all__ = ["Found", "JobFilter", "search"]

_AT_ONCE = 500
_LIGHT = ("state", "kind", "model", "lane")


class JobFilter(BaseModel, frozen=True):
    """Which jobs are wanted; None and an empty text: any."""

    state: JobState | None = None
    kind: JobKind | None = None
    model: str | None = None
    lane: Lane | None = None
    text: str = ""  # a part of the id

    @property
    def by_record(self) -> bool:
        """Whether the record has to be looked at: an index does not say it."""
        return self.kind is not None or self.lane is not None or (self.state is not None and self.model is not None)

    def passes(self, job: Job) -> bool:
        """Return whether a job is one of those that are wanted."""
        light: dict[str, str | None] = {"state": job.state, "kind": job.kind, "model": job.model, "lane": job.lane}
        return self.text in job.id and self.passes_light(light)

    def passes_light(self, fields: dict[str, str | None]) -> bool:
        """Return whether a record with these fields is."""
        asked = {"state": self.state, "kind": self.kind, "model": self.model, "lane": self.lane}
        return all(value is None or fields[name] == value for name, value in asked.items())


class Found(NamedTuple):
    """A page, newest first."""

    jobs: list[Job]  # without outputs
    more: str | None  # the last job that was looked at: look on after it; None: there is none


def search(reader: JobReader, wanted: JobFilter, *, after: str | None = None, limit: int = 50, look_at: int = 2000) -> Found:
    """Return jobs that nobody's parent made, newest first; deliveries of webhooks only where their kind is wanted.

    Args:
        reader: Of the store.
        wanted: Which.
        after: Only jobs submitted before this one: :attr:`Found.more` of the page before.
        limit: At most so many.
        look_at: Look at about so many records at most.

    Raises:
        JobNotFound: *after* is gone.
        StoreUnavailable: Redis does not answer.
    """
    if wanted.text and after is None and (exact := reader.find_many([wanted.text])):
        return Found([job for job in exact.values() if wanted.passes(job)], None)
    ids: list[str] = []
    looked, last = 0, None
    for page in _pages(reader, wanted, after, min(_AT_ONCE, look_at)):
        looked += len(page)
        ids += _passing(reader, wanted, page)
        if len(ids) > limit or looked >= look_at:
            last = page[-1]
            break
    if len(ids) > limit:
        ids, last = ids[:limit], ids[limit - 1]
    jobs = reader.find_many(ids)
    return Found([jobs[job_id] for job_id in ids if job_id in jobs and wanted.passes(jobs[job_id])], last)


def _pages(reader: JobReader, wanted: JobFilter, after: str | None, size: int) -> Iterator[list[str]]:
    """Yield ids from the narrowest index that there is, newest first."""
    if wanted.model is not None:
        indexes = [keys.model_index(wanted.model)]
    else:
        index_of = keys.delivery_index if wanted.kind is JobKind.WEBHOOK else keys.state_index
        indexes = [index_of(state) for state in ([wanted.state] if wanted.state else JobState)]
    below = _sequence(reader, after) if after else None
    while True:
        pipe = reader.client.pipeline(transaction=False)
        for index in indexes:
            pipe.zrevrangebyscore(index, "+inf" if below is None else f"({below}", "-inf", start=0, num=size, withscores=True)
        with store_errors():
            rows = [(score, job_id) for page in pipe.execute() for job_id, score in page]
        if not rows:
            return
        found = heapq.nlargest(size, rows)
        yield [job_id for _, job_id in found]
        below = found[-1][0]


def _sequence(reader: JobReader, job_id: str) -> float:
    with store_errors():
        value = cast("str | None", reader.client.hget(keys.job(job_id), "seq"))
    if value is None:
        raise JobNotFound(job_id)
    return float(value)


def _passing(reader: JobReader, wanted: JobFilter, ids: Sequence[str]) -> list[str]:
    named = [job_id for job_id in ids if wanted.text in job_id]
    if not wanted.by_record or not named:
        return named
    pipe = reader.client.pipeline(transaction=False)
    for job_id in named:
        pipe.hmget(keys.job(job_id), _LIGHT)
    with store_errors():
        rows = zip(named, pipe.execute(), strict=True)
    return [job_id for job_id, row in rows if wanted.passes_light(dict(zip(_LIGHT, row, strict=True)))]
