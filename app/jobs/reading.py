"""Reading jobs, their streams and what workers say. Nothing here changes a record."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast

import redis
from pydantic import BaseModel

from app.errors import Failure, JobNotFinished, JobNotFound, StoreUnavailable
from app.jobs import keys
from app.jobs.record import TERMINAL, Job, JobKind, JobState, Lane, Progress, WaitingFor
from app.jobs.streams import StreamEntry, read_streams

if TYPE_CHECKING:
    from app.jobs.spool import Spool

__all__ = ["JobReader", "ModelState", "WorkerInfo"]

_FIELDS = (
    "id", "kind", "model", "lane", "state", "attempt", "created_at", "started_at", "finished_at", "progress",
    "parent", "retry_of", "error", "usage", "output", "queue", "blob", "charges",
)  # fmt: skip


class WorkerInfo(BaseModel, frozen=True):
    """What a living worker says of itself."""

    id: str
    home: str
    pid: int
    started_at: datetime
    version: str


class ModelState(BaseModel, frozen=True):
    """What a worker says of one model."""

    state: Literal["waiting", "loading", "resident", "failed"]
    bytes: int = 0
    detail: str = ""


class JobReader:
    """The reading half of the job store."""

    def __init__(self, client: redis.Redis, spool: Spool) -> None:
        self.client = client
        self.spool = spool

    def get(self, job_id: str) -> Job:
        """Return a job, with its output where that is small.

        Raises:
            JobNotFound: There is no such job.
        """
        return self._decode_many([job_id], [self._fields(job_id)])[0]

    def output(self, job_id: str) -> bytes:
        """Return the JSON output of a job that succeeded.

        Raises:
            JobNotFound: There is no such job.
            JobNotFinished: It has no output, yet or ever; the record says why.
        """
        try:
            state, output, blob = cast("list[str | None]", self.client.hmget(keys.job(job_id), ["state", "output", "blob"]))
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise StoreUnavailable from error
        if state is None:
            raise JobNotFound(job_id)
        if state != JobState.SUCCEEDED:
            raise JobNotFinished(job_id, state)
        return self.spool.get(blob) if blob else (output or "null").encode()

    def list_jobs(
        self,
        *,
        state: JobState | None = None,
        kind: JobKind | None = None,
        model: str | None = None,
        lane: Lane | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> list[Job]:
        """Return jobs, newest first, outputs left out.

        Args:
            state: Only these; likewise *kind*, *model* and *lane*.
            kind: See above.
            model: See above.
            lane: See above.
            limit: At most so many.
            after: Only jobs submitted before this one: the last id of the page before.
        """
        indexes = [keys.state_index(s) for s in ([state] if state else JobState)]
        if model is not None:
            indexes = [keys.model_index(model)]
        found: list[Job] = []
        below = self._sequence(after) if after else float("inf")
        while len(found) < limit:
            page = self._page(indexes, below, size=max(50, limit))
            if not page:
                break
            below = page[-1][0]
            jobs = self._decode_many([job_id for _, job_id in page], [self._fields(job_id) for _, job_id in page], missing_ok=True)
            wanted = (
                job for job in jobs
                if state in {None, job.state} and kind in {None, job.kind} and lane in {None, job.lane}
            )  # fmt: skip
            found += [job.model_copy(update={"output": None}) for job in wanted]
        return found[:limit]

    def count_by_state(self) -> dict[JobState, int]:
        """Return how many jobs are in each state."""
        pipe = self.client.pipeline(transaction=False)
        for state in JobState:
            pipe.zcard(keys.state_index(state))
        return dict(zip(JobState, self._execute(pipe), strict=True))

    def queues(self) -> dict[str, int]:
        """Return every queue ever used with the number of jobs queued there."""
        names = sorted(cast("set[str]", self.client.smembers(keys.QUEUES)))
        pipe = self.client.pipeline(transaction=False)
        for name in names:
            pipe.zcard(keys.queue(name))
        return dict(zip(names, self._execute(pipe), strict=True))

    def workers(self) -> list[WorkerInfo]:
        """Return the workers whose heartbeat has not lapsed."""
        try:
            ids = cast("set[str]", self.client.smembers(keys.WORKERS))
            found = ((worker_id, cast("dict[str, str]", self.client.hgetall(keys.worker(worker_id)))) for worker_id in sorted(ids))
            return [WorkerInfo.model_validate({**fields, "id": worker_id}) for worker_id, fields in found if fields]
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise StoreUnavailable from error

    def model_states(self) -> dict[str, ModelState]:
        """Return what the living workers say of their models; the furthest state wins."""
        rank = {"resident": 3, "loading": 2, "waiting": 1, "failed": 0}
        states: dict[str, ModelState] = {}
        for worker in self.workers():
            for model, text in cast("dict[str, str]", self.client.hgetall(keys.models_of(worker.id))).items():
                state = ModelState.model_validate_json(text)
                if model not in states or rank[state.state] > rank[states[model].state]:
                    states[model] = state
        return states

    def stream(self, cursors: Mapping[str, str], *, count: int = 1000) -> dict[str, list[StreamEntry]]:
        """Return the entries of each job's stream after its cursor, in one round trip."""
        return read_streams(self.client, cursors, count=count)

    def published(self, job_id: str) -> tuple[list[int], str]:
        """Return the token ids and the text that earlier attempts at a job have published."""
        entries = self.stream({job_id: "0-0"}, count=1_000_000).get(job_id, [])
        return [token for entry in entries for token in entry.ids], "".join(entry.text for entry in entries)

    def held(self) -> list[tuple[str, str, str, int]]:
        """Return every running job in order of submission: its id, worker, claim token and attempt."""
        running = cast("list[str]", self.client.zrange(keys.state_index(JobState.RUNNING), 0, -1))
        pipe = self.client.pipeline(transaction=False)
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

    def _fields(self, job_id: str) -> list[str | None]:
        try:
            return cast("list[str | None]", self.client.hmget(keys.job(job_id), list(_FIELDS)))
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise StoreUnavailable from error

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
        try:
            return cast("list[Any]", pipe.execute())
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise StoreUnavailable from error

    def _decode_many(self, ids: Sequence[str], rows: Sequence[list[str | None]], *, missing_ok: bool = False) -> list[Job]:
        jobs = []
        for job_id, row in zip(ids, rows, strict=True):
            fields = dict(zip(_FIELDS, row, strict=True))
            if fields["id"] is None:
                if missing_ok:
                    continue
                raise JobNotFound(job_id)
            jobs.append(self._decode(fields))
        return jobs

    def _decode(self, fields: dict[str, str | None]) -> Job:
        state = JobState(str(fields["state"]))
        job = Job(
            id=str(fields["id"]),
            kind=JobKind(str(fields["kind"])),
            model=str(fields["model"]),
            lane=Lane(str(fields["lane"])),
            state=state,
            attempt=int(fields["attempt"] or 0),
            created_at=_moment(fields["created_at"]) or datetime.now(UTC),
            started_at=_moment(fields["started_at"]),
            finished_at=_moment(fields["finished_at"]),
            progress=Progress.model_validate_json(fields["progress"]) if fields["progress"] else None,
            parent=fields["parent"],
            retry_of=fields["retry_of"],
            error=Failure.model_validate_json(fields["error"]) if fields["error"] else None,
            usage=json.loads(fields["usage"]) if fields["usage"] else None,
            output=json.loads(fields["output"]) if fields["output"] else None,
        )
        if state in TERMINAL:
            return job
        position, waiting = self._why_waiting(job, str(fields["queue"]))
        return job.model_copy(update={"position": position, "waiting_for": waiting})

    def _why_waiting(self, job: Job, queue: str) -> tuple[int | None, WaitingFor | None]:
        """Say why *job* does not run yet. Derived from records and from what workers say, never stored."""
        model = self.model_states().get(job.model)
        if job.state is JobState.RUNNING:
            if model and model.state in {"waiting", "loading"}:
                return None, WaitingFor(reason=f"model_{model.state}", detail=model.detail or f"{job.model} is being loaded.")
            return None, None
        position = cast("int | None", self.client.zrank(keys.queue(queue), job.id))
        if not self.workers():
            return position, WaitingFor(reason="no_worker", detail="No worker is running; the job starts when one does.")
        if queue == keys.QUARANTINE:
            return position, WaitingFor(reason="quarantine", detail="A worker died while it ran this job, so it runs alone.")
        if model and model.state != "resident":
            return position, WaitingFor(reason=f"model_{model.state}", detail=model.detail or f"{job.model} is {model.state}.")
        return position, WaitingFor(reason="queue", detail=f"{position} jobs are before this one in {queue}." if position else "It is next.")


def _moment(text: str | None) -> datetime | None:
    return datetime.fromtimestamp(float(text), UTC) if text else None
