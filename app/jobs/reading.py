"""Reading jobs, their streams and what workers say. Nothing here changes a record."""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import redis

from app.errors import JobNotFinished, JobNotFound
from app.jobs import keys
from app.jobs.connection import store_errors
from app.jobs.decoding import FIELDS, ModelState, Scene, decode, explain, explain_parent
from app.jobs.record import JSON_TYPE, TERMINAL, Job, JobKind, JobState, Lane
from app.jobs.streams import StreamEntry, read_streams
from app.jobs.workers import WorkerInfo, WorkerModels, furthest, read_workers, read_workers_with_models

if TYPE_CHECKING:
    from app.jobs.blobs import Blobs

__all__ = ["JobReader", "Output", "QueueHead"]


class Output(NamedTuple):
    """What came of a job."""

    content: bytes
    media_type: str


class QueueHead(NamedTuple):
    """What waits in one queue."""

    length: int
    waited_s: float  # by the job that was submitted first
    job_id: str  # that job


class JobReader:
    """The reading half of the job store."""

    def __init__(self, client: redis.Redis, spool: Blobs) -> None:
        self.client = client
        self.spool = spool

    def get(self, job_id: str) -> Job:
        """Return a job, with its output where that is small.

        Raises:
            JobNotFound: There is no such job.
        """
        job = self._decode_many([job_id], outputs=True)[0]
        if job is None:
            raise JobNotFound(job_id)
        return job

    def find_many(self, ids: Sequence[str]) -> dict[str, Job]:
        """Return those of the jobs that exist, outputs left out: a few round trips, however many they are."""
        return {job.id: job for job in self._decode_many(ids) if job is not None}

    def output(self, job_id: str) -> Output:
        """Return the output of a job that succeeded.

        Raises:
            JobNotFound: There is no such job.
            JobNotFinished: It has no output, yet or ever; the record says why.
        """
        with store_errors():
            names = ("state", "output", "blob", "media_type")
            state, output, blob, media_type = cast("list[str | None]", self.client.hmget(keys.job(job_id), names))
        if state is None:
            raise JobNotFound(job_id)
        if state != JobState.SUCCEEDED:
            raise JobNotFinished(job_id, state)
        return Output(self.spool.get(blob) if blob else (output or "null").encode(), media_type or JSON_TYPE)

    def list_jobs(
        self,
        *,
        state: JobState | None = None,
        kind: JobKind | None = None,
        model: str | None = None,
        lane: Lane | None = None,
        owner: str | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> list[Job]:
        """Return jobs, newest first, outputs left out. Children are not among them: :meth:`Chains.list_children` has those.

        Args:
            state: Only these; likewise *kind*, *model*, *lane* and *owner*.
            kind: See above. Deliveries of webhooks are there only where they are asked for.
            model: See above.
            lane: See above.
            owner: See above.
            limit: At most so many.
            after: Only jobs submitted before this one: the last id of the page before.
        """
        index_of = keys.delivery_index if kind is JobKind.WEBHOOK else keys.state_index
        indexes = [index_of(s) for s in ([state] if state else JobState)]
        if model is not None:
            indexes = [keys.model_index(model)]
        if owner is not None:
            indexes = [keys.owner_index(owner)]
        found: list[Job] = []
        below = self._sequence(after) if after else float("inf")
        while len(found) < limit:
            page = self._page(indexes, below, size=max(50, limit))
            if not page:
                break
            below = page[-1][0]
            jobs = (job for job in self._decode_many([job_id for _, job_id in page]) if job is not None)
            wanted = (job for job in jobs if state in {None, job.state} and kind in {None, job.kind} and lane in {None, job.lane})
            found += [job for job in wanted if model in {None, job.model} and (kind or job.kind is not JobKind.WEBHOOK)]
        return found[:limit]

    def oldest(self, state: JobState, limit: int) -> list[Job]:
        """Return the jobs that have been in the store longest among those in *state*, oldest first, outputs left out."""
        with store_errors():
            ids = cast("list[str]", self.client.zrange(keys.state_index(state), 0, limit - 1))
        return [job for job in self._decode_many(ids) if job is not None and job.state is state]

    def count_by_state(self, *, children: bool = False) -> dict[JobState, int]:
        """Return how many jobs are in each state: those that lists have, or the children among the rest."""
        pipe = self.client.pipeline(transaction=False)
        for state in JobState:
            pipe.zcard(keys.state_index(state, children=children))
        return dict(zip(JobState, self._execute(pipe), strict=True))

    def queues(self) -> dict[str, int]:
        """Return every queue ever used with the number of jobs queued there."""
        names = sorted(cast("set[str]", self.client.smembers(keys.QUEUES)))
        pipe = self.client.pipeline(transaction=False)
        for name in names:
            pipe.zcard(keys.queue(name))
        return dict(zip(names, self._execute(pipe), strict=True))

    def waiting(self, model: str, *, before: float = float("inf")) -> list[str]:
        """Return the jobs queued for a model that were submitted before a moment, epoch s; interactive ones first."""
        pipe = self.client.pipeline(transaction=False)
        for lane in Lane:
            pipe.zrange(keys.queue(keys.queue_name(model, lane)), 0, -1)
        ids = [job_id for page in self._execute(pipe) for job_id in page]
        for job_id in ids:
            pipe.hmget(keys.job(job_id), ["model", "created_at"])
        rows = zip(ids, self._execute(pipe), strict=True)
        return [job_id for job_id, (of, at) in rows if of == model and float(at) < before]  # two models may share a queue

    def backlogs(self) -> dict[str, QueueHead]:
        """Return the head of every queue that has jobs waiting in it."""
        with store_errors():
            names = sorted(cast("set[str]", self.client.smembers(keys.QUEUES)))
        pipe = self.client.pipeline(transaction=False)
        for name in names:
            pipe.zcard(keys.queue(name))
            pipe.zrange(keys.queue(name), 0, 0)
        answers = self._execute(pipe)
        found = [(name, count, first[0]) for name, count, first in zip(names, answers[::2], answers[1::2], strict=True) if first]
        if not found:
            return {}
        pipe.time()
        for _, _, job_id in found:
            pipe.hget(keys.job(job_id), "created_at")
        (seconds, micros), *created = self._execute(pipe)
        now = seconds + micros / 1e6
        waited = [max(0.0, now - float(at or now)) for at in created]
        return {name: QueueHead(count, waited_s, job_id) for (name, count, job_id), waited_s in zip(found, waited, strict=True)}

    def workers(self) -> list[WorkerInfo]:
        """Return the workers whose heartbeat has not lapsed."""
        return read_workers(self.client)

    def workers_with_models(self) -> list[WorkerModels]:
        """Return the same with their models."""
        return read_workers_with_models(self.client)

    def model_states(self) -> dict[str, ModelState]:
        """Return what the living workers say of their models; the furthest state wins."""
        return furthest(self.workers_with_models())

    def stream(self, cursors: Mapping[str, str], *, count: int = 1000, wait_s: float = 0.0) -> dict[str, list[StreamEntry]]:
        """Return the entries of each job's stream after its cursor, in one round trip; wait for the first one at most *wait_s*."""
        return read_streams(self.client, cursors, count=count, wait_s=wait_s)

    def held(self) -> list[tuple[str, str, str, int]]:
        """Return every claimed job in order of submission, children too: its id, worker, claim token and attempt."""
        pipe = self.client.pipeline(transaction=False)
        for children in (False, True):
            pipe.zrange(keys.state_index(JobState.RUNNING, children=children), 0, -1, withscores=True)
        jobs, of_parents = self._execute(pipe)
        running = [job_id for job_id, _ in heapq.merge(jobs, of_parents, key=lambda found: found[1])]
        for job_id in running:
            pipe.hmget(keys.job(job_id), ["worker", "token", "attempt"])
        rows = zip(running, self._execute(pipe), strict=True)
        return [(job_id, row[0], row[1], int(row[2])) for job_id, row in rows if row[0] and row[1]]

    def still_running(self, claims: Sequence[tuple[str, str]]) -> set[str]:
        """Return those of the jobs, given with their claim tokens, that are running under that claim."""
        pipe = self.client.pipeline(transaction=False)
        for job_id, _ in claims:
            pipe.hmget(keys.job(job_id), ["state", "token"])
        rows = zip(claims, self._execute(pipe), strict=True)
        return {job_id for (job_id, token), (state, held) in rows if state == JobState.RUNNING and held == token}

    def now(self) -> float:
        """Return Redis TIME in seconds: the clock of every record."""
        seconds, micros = self.client.time()
        return seconds + micros / 1e6

    def used_bytes(self) -> int:
        """Return the memory that Redis uses."""
        return int(cast("dict[str, int]", self.client.info("memory"))["used_memory"])

    def _sequence(self, job_id: str) -> float:
        value = cast("str | None", self.client.hget(keys.job(job_id), "seq"))
        if value is None:
            raise JobNotFound(job_id)
        return float(value)

    def _page(self, indexes: Sequence[str], below: float, *, size: int) -> list[tuple[float, str]]:
        pipe = self.client.pipeline(transaction=False)
        for index in indexes:
            pipe.zrevrangebyscore(index, f"({below}" if below != float("inf") else "+inf", "-inf", start=0, num=size, withscores=True)
        rows = ((score, job_id) for page in self._execute(pipe) for job_id, score in page)
        return heapq.nlargest(size, rows)

    @staticmethod
    def _execute(pipe: Any) -> list[Any]:  # noqa: ANN401 - a redis pipeline
        with store_errors():
            return cast("list[Any]", pipe.execute())

    def _decode_many(self, ids: Sequence[str], *, outputs: bool = False) -> list[Job | None]:
        """Return the jobs of *ids*, None where there is none: three round trips, however many they are, four with parents among them."""
        pipe = self.client.pipeline(transaction=False)
        names = [name for name in FIELDS if outputs or name != "output"]
        for job_id in ids:
            pipe.hmget(keys.job(job_id), names)
        rows: list[dict[str, str | None]] = [dict(zip(names, row, strict=True)) for row in self._execute(pipe)]
        jobs = [decode(fields) if fields["id"] else None for fields in rows]
        if all(job is None or job.state in TERMINAL for job in jobs):
            return jobs
        for fields in rows:
            pipe.zrank(keys.queue(str(fields["queue"])), str(fields["id"]))
            pipe.zcard(keys.queue(keys.queue_name(str(fields["model"]), Lane.INTERACTIVE)))
        answers = self._execute(pipe)
        said = self.workers_with_models()
        held = min((one.worker.batch_waits for one in said), default="")  # empty where one of them takes batch work
        scene = Scene(workers=len(said), models=furthest(said), now=time.time(), batch_waits=held)
        return self._with_heads([
            job if job is None or job.state in TERMINAL
            else job.model_copy(update={"position": rank, "waiting_for": explain(
                job, str(fields["queue"]), rank, scene, people=people if job.lane is Lane.BATCH else 0
            )})
            for job, fields, rank, people in zip(jobs, rows, answers[::2], answers[1::2], strict=True)
        ], rows)  # fmt: skip

    def _with_heads(self, jobs: list[Job | None], rows: Sequence[Mapping[str, str | None]]) -> list[Job | None]:
        """Let parents that wait for children stand where the first of these stands that has not ended."""
        waiting = {
            job.id: (int(fields["open"] or 0), keys.child(job.id, int(fields["head"] or 0)))
            for job, fields in zip(jobs, rows, strict=True)
            if job is not None and job.state not in TERMINAL and fields["open"] not in {None, "0"}
        }
        if not waiting:
            return jobs
        heads = dict(zip(waiting, self._decode_many([head for _, head in waiting.values()]), strict=True))
        return [self._standing(job, waiting[job.id][0], heads[job.id]) if job and job.id in waiting else job for job in jobs]

    @staticmethod
    def _standing(parent: Job, open_children: int, head: Job | None) -> Job:
        position = head.position if head else None
        return parent.model_copy(update={"position": position, "waiting_for": explain_parent(parent, open_children, head)})
