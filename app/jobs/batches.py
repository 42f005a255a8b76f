"""Batches in the job store: every move of one, each one atomic script call, as :mod:`app.jobs.store` has those of jobs.

A batch is a job whose children are the lines of a file, fed into the queues a few at a time by a clerk, of which there is
one at a time. What a clerk is told, and what it does with lines, is the API's: this module knows numbers, jobs and blobs.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from app.errors import BatchNotFound, Failure
from app.jobs import keys
from app.jobs.batch_record import ALL_MODELS, FIELDS, BatchError, BatchRecord, Outcome, decode_batch
from app.jobs.connection import store_errors
from app.jobs.record import JobKind, JobState
from app.jobs.submission import NewJob
from app.jobs.work import needed_version
from app.named_keys import ANYONE, Caller

if TYPE_CHECKING:
    from app.jobs.store import JobStore

__all__ = ["LEASE_S", "Batches", "ClerkId", "Collected", "EndedLine", "Line", "NoLongerClerk"]

LEASE_S = 15.0
"""How long a clerk may be silent before another one takes over."""


class NoLongerClerk(Exception):
    """Another process sees to the batch now, or it is gone."""


class ClerkId(NamedTuple):
    """Who sees to a batch."""

    batch: str  # id of the job
    name: str  # begins with that of its process
    process: str


class Line(NamedTuple):
    """A line that may begin."""

    number: int  # of all lines, from 0
    job: NewJob  # under an id of its own, by which it holds what it reads in the spool


class EndedLine(NamedTuple):
    """A line whose job has ended."""

    number: int
    state: JobState
    usage: Mapping[str, Any]
    children: int


class Collected(NamedTuple):
    """Lines whose results are in the spool."""

    part: str | None  # the blob that has them
    ended: Sequence[int]  # those of jobs, the first ones that ended
    refused: Sequence[int]  # those that never were jobs
    usage: Mapping[str, int]  # what they took together


class Batches:
    """Batches of one job store as one caller sees them: who owns batches has no others. Synchronous and thread-safe."""

    def __init__(self, store: JobStore, caller: Caller = ANYONE) -> None:
        self._store = store
        self._caller = caller

    def get(self, job_id: str) -> BatchRecord:
        """Return a batch.

        Raises:
            BatchNotFound: There is no such job, it is no batch, or it is another's.
        """
        found = self._find_many([job_id])
        if not found:
            raise BatchNotFound(job_id)
        return found[0]

    def page(self, *, limit: int, after: str | None) -> list[BatchRecord]:
        """Return batches, newest first, those submitted before *after* where that is given.

        Raises:
            JobNotFound: *after* is no job.
        """
        jobs = self._store.list_jobs(kind=JobKind.BATCH, model=ALL_MODELS, owner=self._caller.owner, limit=limit, after=after)
        return self._find_many([job.id for job in jobs])  # one may have been forgotten since

    def _find_many(self, ids: Sequence[str]) -> list[BatchRecord]:
        """Return those of *ids* that are batches which the caller sees."""
        pipe = self._store.client.pipeline(transaction=False)
        for job_id in ids:
            pipe.hmget(keys.job(job_id), list(FIELDS))
        with store_errors():
            rows = [dict(zip(FIELDS, row, strict=True)) for row in pipe.execute()]
        return [
            decode_batch(fields) for fields in rows if fields["kind"] == JobKind.BATCH and self._caller.owner in {None, fields["owner"]}
        ]

    def unsettled(self) -> list[str]:
        """Return the batches that somebody must see to, oldest first. Those whose time is over are ended first."""
        self._store.expire_deadlines()
        with store_errors():
            return cast("list[str]", self._store.client.zrange(keys.BATCHES, 0, -1))

    def attend(self, clerk: ClerkId) -> None:
        """Become the batch's clerk, or stay it, for :data:`LEASE_S` seconds; every move of a clerk extends that.

        Raises:
            NoLongerClerk: Another process's clerk is there, or the batch is settled.
        """
        if self._move(clerk, "batch_attend", {"process": clerk.process})[0] != "attended":
            raise NoLongerClerk

    def leave(self, clerk: ClerkId) -> None:
        """Let another one take over at once."""
        self._move(clerk, "batch_leave", {})

    def begin(self, clerk: ClerkId, total: int, model: str | None) -> None:
        """Say that the file can be used, and has *total* lines, all of *model* where that is given."""
        self._clerks_move(clerk, "batch_begin", {"total": total, "only_model": model})

    def refuse(self, clerk: ClerkId, failure: Failure, errors: Sequence[BatchError]) -> None:
        """Fail a batch whose file cannot be used."""
        told = json.dumps([error.model_dump() for error in errors], ensure_ascii=False)
        self._clerks_move(clerk, "batch_refuse", {"error": failure.model_dump_json()}, told)

    def feed(self, clerk: ClerkId, lines: Sequence[Line]) -> None:
        """Put lines into the queues of their models. What they read is held for them from now on, and no more for their jobs."""
        children = [keys.child(clerk.batch, line.number) for line in lines]
        held = [(line.job.id, child, blob) for line, child in zip(lines, children, strict=True) for blob in line.job.blobs]
        for _, child, blob in held:
            self._store.spool.hold(blob, holder=child)
        facts = [self._facts(line) for line in lines]
        self._clerks_move(clerk, "batch_feed", {}, json.dumps(facts, ensure_ascii=False))
        for job_id, _, blob in held:
            self._store.spool.drop(job_id, blob)

    @staticmethod
    def _facts(line: Line) -> dict[str, Any]:
        job = line.job
        needs = needed_version(job.kind, job.request)
        facts = {
            "number": line.number,
            "kind": job.kind,
            "model": job.model,
            "lane": job.lane,
            "queue": keys.queue_of(job.kind, job.model, job.lane),
            "request": json.dumps(job.request, ensure_ascii=False, separators=(",", ":")),
            "seed": str(secrets.randbits(62)),
            "needs": needs if needs > 1 else None,
            "blobs": json.dumps(job.blobs) if job.blobs else None,
        }
        return {name: fact for name, fact in facts.items() if fact is not None}

    def fed(self, job_id: str) -> set[int]:
        """Return the lines that need no feeding any more."""
        with store_errors():
            return {int(number) for number in cast("set[str]", self._store.client.smembers(keys.batch(job_id, "fed")))}

    def living(self, job_id: str) -> list[int]:
        """Return the lines that are jobs at present, whether they have ended or not."""
        with store_errors():
            return [int(number) for number in cast("list[str]", self._store.client.zrange(keys.batch(job_id, "lines"), 0, -1))]

    def ended(self, job_id: str, after: int = 0) -> list[EndedLine]:
        """Return the lines that have ended and were not collected, in that order, without the first *after*."""
        with store_errors():
            numbers = cast("list[str]", self._store.client.lrange(keys.batch(job_id, "ended"), after, -1))
            pipe = self._store.client.pipeline(transaction=False)
            for number in numbers:
                pipe.hmget(keys.job(keys.child(job_id, int(number))), ["state", "usage", "children"])
            rows = zip(numbers, pipe.execute(), strict=True)
        return [
            EndedLine(int(number), JobState(state), json.loads(usage or "{}"), int(children or 0))
            for number, (state, usage, children) in rows
        ]

    def collect(self, clerk: ClerkId, collected: Collected) -> None:
        """Note that results are in the spool, held by the batch, and forget the jobs that made them."""
        facts = collected._asdict() | {"round": secrets.token_hex(8)}
        held = self._clerks_move(clerk, "batch_collect", facts)
        for holder, blob in zip(held[::2], held[1::2], strict=True):
            self._store.spool.drop(holder, blob or None)

    def parts(self, job_id: str) -> list[str]:
        """Return the blobs with the results that have been collected."""
        with store_errors():
            return cast("list[str]", self._store.client.lrange(keys.batch(job_id, "parts"), 0, -1))

    def finalize(self, clerk: ClerkId) -> None:
        """Say that every line has been answered. From now on no deadline passes."""
        self._clerks_move(clerk, "batch_finalize", {})

    def settle(self, clerk: ClerkId, outcome: Outcome) -> None:
        """Note the files of the results; a batch that was not cancelled succeeds with that, and what it had in the spool is let go of."""
        parts = self.parts(clerk.batch)
        self._clerks_move(clerk, "batch_settle", outcome.model_dump(), outcome.model_dump_json())
        for part in parts:
            self._store.spool.drop(clerk.batch, part)

    def _clerks_move(self, clerk: ClerkId, command: str, facts: Mapping[str, Any], raw: str = "") -> list[Any]:
        said = self._move(clerk, command, facts, raw)
        if said[0] != "ok":
            raise NoLongerClerk
        return said[1:]

    def _move(self, clerk: ClerkId, command: str, facts: Mapping[str, Any], raw: str = "") -> list[Any]:
        return self._store.moves(command, {"id": clerk.batch, "clerk": clerk.name, "lease": LEASE_S, **facts}, raw)
