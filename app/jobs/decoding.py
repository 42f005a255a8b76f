"""From a job's hash to a :class:`Job`, and from what is known of workers to why a job waits. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.errors import Failure
from app.jobs import keys
from app.jobs.record import Job, JobKind, JobState, Lane, Progress, WaitingFor

__all__ = ["FIELDS", "ModelState", "Scene", "decode", "explain"]

FIELDS = (
    "id", "kind", "model", "lane", "state", "attempt", "created_at", "started_at", "finished_at", "progress", "deadline",
    "parent", "retry_of", "error", "usage", "output", "queue",
)  # fmt: skip
"""The fields of a job's hash that :func:`decode` reads."""


class ModelState(BaseModel, frozen=True):
    """What a worker says of one model."""

    state: Literal["downloading", "waiting", "loading", "resident", "failed"]
    bytes: int = 0
    reason: str = Field("", description="Why jobs wait for it, in a word for programs.")
    detail: str = ""


class Scene(BaseModel, frozen=True):
    """What there is to run jobs."""

    workers: int
    models: Mapping[str, ModelState]


def decode(fields: Mapping[str, str | None]) -> Job:
    """Return the job that *fields* of its hash describe, without position and reason."""
    return Job(
        id=str(fields["id"]),
        kind=JobKind(str(fields["kind"])),
        model=str(fields["model"]),
        lane=Lane(str(fields["lane"])),
        state=JobState(str(fields["state"])),
        attempt=int(fields["attempt"] or 0),
        created_at=_moment(fields["created_at"]) or datetime.now(UTC),
        started_at=_moment(fields["started_at"]),
        finished_at=_moment(fields["finished_at"]),
        deadline=_moment(fields["deadline"]),
        progress=Progress.model_validate_json(fields["progress"]) if fields["progress"] else None,
        parent=fields["parent"],
        retry_of=fields["retry_of"],
        error=Failure.model_validate_json(fields["error"]) if fields["error"] else None,
        usage=json.loads(fields["usage"]) if fields["usage"] else None,
        output=json.loads(fields["output"]) if fields["output"] else None,
    )


def explain(job: Job, queue: str, position: int | None, scene: Scene) -> WaitingFor | None:
    """Say why *job*, which has not ended, does not run yet; None when it does."""
    model = scene.models.get(job.model)
    if job.state is JobState.RUNNING and job.kind is JobKind.DOWNLOAD:
        return _downloading(model)
    if job.state is JobState.RUNNING:
        loading = model is not None and model.state in {"waiting", "loading"}
        return WaitingFor(reason="model_loading", detail=f"{job.model} is being loaded.") if loading else None
    if not scene.workers:
        return WaitingFor(reason="no_worker", detail="No worker is running; the job starts when one does.")
    if queue == keys.QUARANTINE:
        return WaitingFor(reason="quarantine", detail="A worker died while it ran this job, so it runs alone.")
    if model and model.state == "downloading" and queue != keys.DOWNLOADS:
        return _downloading(model)
    if model and model.state in {"waiting", "loading"} and queue != keys.DOWNLOADS:
        return WaitingFor(reason=model.reason or "model_loading", detail=model.detail or f"{job.model} is being loaded.")
    return WaitingFor(reason="queue", detail=f"{position} jobs are before this one in {queue}." if position else "It is next.")


def _downloading(model: ModelState | None) -> WaitingFor | None:
    return WaitingFor(reason="downloading", detail=model.detail) if model and model.state == "downloading" else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromtimestamp(float(text), UTC) if text else None
