"""Everything at a glance: what there is to run jobs, what runs, what waits. A dozen round trips, however many jobs there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from app.jobs import keys
from app.jobs.connection import store_errors
from app.jobs.decoding import ModelState
from app.jobs.reading import JobReader, QueueHead
from app.jobs.record import TERMINAL, Job, JobKind, JobState
from app.jobs.workers import WorkerInfo, furthest

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Overview", "QueueStanding", "look"]

_SHOWN = 8  # of those that run, and of those that wait
_LOOKED_AT = 400  # of those that run, to tell downloads and recordings
_RECORDINGS = frozenset({JobKind.TRANSCRIPT, JobKind.TRANSCRIPTION, JobKind.TRANSLATION})


@dataclass(frozen=True, slots=True)
class QueueStanding:
    """A queue that has jobs waiting in it."""

    name: str
    length: int
    waited_s: float  # by its head
    head: Job


@dataclass(frozen=True, slots=True)
class Overview:
    """What was seen, at one moment. Jobs are without their outputs."""

    at: float  # epoch s, by Redis's clock
    counts: Mapping[JobState, int]
    parts: Mapping[JobState, int]  # of jobs that are done as many
    workers: Sequence[WorkerInfo]
    models: Mapping[str, ModelState]
    queues: Sequence[QueueStanding]
    running: Sequence[Job]  # the first that began, and not all of them
    waiting: Sequence[Job]  # the head of each queue, and those that came first
    downloads: Sequence[Job]
    recordings: Sequence[Job]


def look(reader: JobReader) -> Overview:
    """Look once.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    heads = reader.backlogs()
    running, waiting, fetching = _ids(reader, filter(keys.is_downloads, heads))
    kinds = _kinds(reader, running)
    downloads = [*(job_id for job_id in running if kinds[job_id] == JobKind.DOWNLOAD), *fetching]
    recordings = [job_id for job_id in running if kinds[job_id] in _RECORDINGS]
    first = [job_id for job_id in running if kinds[job_id] != JobKind.DOWNLOAD]
    waiting = list(dict.fromkeys([*(head.job_id for head in heads.values()), *waiting]))[: max(_SHOWN, len(heads))]
    shown = [first[:_SHOWN], waiting, downloads[:_SHOWN], recordings[:_SHOWN]]
    said = reader.workers_with_models()
    wanted = dict.fromkeys(job_id for ids in shown for job_id in ids)
    jobs = reader.find_many(list(wanted))
    first_jobs, waiting_jobs, download_jobs, recording_jobs = (_open(jobs[job_id] for job_id in ids if job_id in jobs) for ids in shown)
    return Overview(
        at=reader.now(),
        counts=reader.count_by_state(),
        parts=reader.count_by_state(children=True),
        workers=[one.worker for one in said],
        models=furthest(said),
        queues=_standing(heads, jobs),
        running=[job for job in first_jobs if job.state is JobState.RUNNING],
        waiting=sorted((job for job in waiting_jobs if job.state is JobState.QUEUED), key=lambda job: job.created_at),
        downloads=download_jobs,
        recordings=recording_jobs,
    )


def _ids(reader: JobReader, downloads: Iterable[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the ids of those that run, of the first that wait, and of downloads that wait."""
    pipe = reader.client.pipeline(transaction=False)
    pipe.zrange(keys.state_index(JobState.RUNNING), 0, _LOOKED_AT - 1)
    pipe.zrange(keys.state_index(JobState.QUEUED), 0, _SHOWN - 1)
    for queue in downloads:
        pipe.zrange(keys.queue(queue), 0, _SHOWN - 1)
    with store_errors():
        running, waiting, *fetching = pipe.execute()
    return running, waiting, [job_id for ids in fetching for job_id in ids]


def _kinds(reader: JobReader, ids: Sequence[str]) -> dict[str, str | None]:
    pipe = reader.client.pipeline(transaction=False)
    for job_id in ids:
        pipe.hget(keys.job(job_id), "kind")
    with store_errors():
        return dict(zip(ids, cast("list[str | None]", pipe.execute()), strict=True))


def _open(jobs: Iterable[Job]) -> list[Job]:
    return [job for job in jobs if job.state not in TERMINAL]


def _standing(heads: Mapping[str, QueueHead], jobs: Mapping[str, Job]) -> list[QueueStanding]:
    found = [QueueStanding(name, head.length, head.waited_s, jobs[head.job_id]) for name, head in heads.items() if head.job_id in jobs]
    return sorted(found, key=lambda queue: -queue.waited_s)
