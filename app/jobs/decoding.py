"""From a job's hash to a :class:`Job`, and from what is known of workers to why a job waits. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.errors import Failure
from app.jobs import keys
from app.jobs.estimate import Outlook, seconds_to_start
from app.jobs.record import SEEN_TO_BY_API, Job, JobKind, JobState, Lane, Progress, WaitingFor

__all__ = ["FIELDS", "ModelState", "Scene", "decode", "explain", "explain_parent", "why_batch_waits"]

FIELDS = (
    "id", "kind", "model", "lane", "state", "attempt", "created_at", "started_at", "finished_at", "progress", "deadline",
    "parent", "children", "open", "head", "retry_of", "owner", "about", "event", "next_try_at", "error", "usage", "output", "queue",
)  # fmt: skip
"""The fields of a job's hash that :func:`decode` reads."""


_CHILDREN_SHOWN = 100

_WHY_BATCH_WAITS = {
    "on_battery": "This machine runs on battery: batch work waits until it is plugged in, or MLX_LOCAL_ON_BATTERY is `all`.",
    "low_charge": "This machine's battery is low: batch work waits until it is plugged in, or MLX_LOCAL_ON_LOW_POWER is `all`.",
    "low_power": "This machine is in low-power mode: batch work waits until that ends, or MLX_LOCAL_ON_LOW_POWER is `all`.",
}


class ModelState(BaseModel, frozen=True):
    """What a worker says of one model."""

    state: Literal["downloading", "waiting", "loading", "resident", "failed"]
    bytes: int = 0
    reason: str = Field("", description="Why jobs wait for it, in a word for programs.")
    detail: str = ""
    outlook: Outlook = Outlook()


class Scene(BaseModel, frozen=True):
    """What there is to run jobs."""

    workers: int
    models: Mapping[str, ModelState]
    now: float  # epoch s
    batch_waits: str = ""  # why no batch work begins, in a word


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
        children=[keys.child(str(fields["id"]), number) for number in range(min(_CHILDREN_SHOWN, int(fields["children"] or 0)))],
        child_count=int(fields["children"] or 0),
        retry_of=fields["retry_of"],
        owner=fields["owner"],
        about=fields["about"],
        event=fields["event"],
        next_try_at=_moment(fields["next_try_at"]),
        error=Failure.model_validate_json(fields["error"]) if fields["error"] else None,
        usage=json.loads(fields["usage"]) if fields["usage"] else None,
        output=json.loads(text) if (text := fields.get("output")) else None,
    )


def why_batch_waits(word: str) -> str:
    """Return a sentence for what a worker says of batch work, which begins again by itself."""
    return _WHY_BATCH_WAITS.get(word, "Batch work waits.")


def explain(job: Job, queue: str, position: int | None, scene: Scene, *, people: int = 0) -> WaitingFor | None:
    """Say why *job*, which has not ended, does not run yet; None when it does.

    Args:
        job: Which.
        queue: Where it waits, or waited.
        position: Jobs before it there.
        scene: What there is to run it.
        people: Jobs of people that wait for the same model, and go before it.
    """
    model = scene.models.get(job.model)
    if job.kind in SEEN_TO_BY_API or (job.state is JobState.RUNNING and position is None):
        return _in_no_queue(job, model, scene)
    if not scene.workers:
        return WaitingFor(reason="no_worker", detail="No worker is running; the job starts when one does.")
    if queue == keys.QUARANTINE:
        return WaitingFor(reason="quarantine", detail="A worker died while it ran this job, so it runs alone.")
    if job.parent is not None and position is None:
        return WaitingFor(reason="siblings", detail="It waits for parts of the same job that come before it.")
    before = "1 job is" if position == 1 else f"{position} jobs are"
    detail = f"{before} before this one in {queue}." if position else "It is next."
    if keys.is_downloads(queue) or queue in {keys.CHAINS, keys.COUNTS}:
        return WaitingFor(reason="queue", detail=detail)
    return _of_model(job, model, scene, detail, (position or 0) + people)


def _of_model(job: Job, model: ModelState | None, scene: Scene, detail: str, ahead: int) -> WaitingFor | None:
    """Say what a job waits for that a model is to do."""
    if model and model.state == "downloading":
        return _downloading(model)
    if scene.batch_waits and job.lane is Lane.BATCH:
        return WaitingFor(reason=scene.batch_waits, detail=why_batch_waits(scene.batch_waits))
    if model and (model.reason or model.state in {"waiting", "loading"}):
        return _wait(model.reason or "model_loading", model.detail or f"{job.model} is being loaded.", model, scene, ahead)
    return _wait("queue", detail, model, scene, ahead)


def _in_no_queue(job: Job, model: ModelState | None, scene: Scene) -> WaitingFor | None:
    if job.kind is JobKind.BATCH:
        return WaitingFor(reason="validating", detail="Its lines are being checked.") if job.state is JobState.QUEUED else None
    if job.kind is JobKind.WEBHOOK:
        return _to_be_tried(job, scene.now) if job.state is JobState.QUEUED else None
    if job.kind is JobKind.DOWNLOAD:
        return _downloading(model)
    coming = model is not None and model.state in {"waiting", "loading"}
    needs_it = not job.child_count and job.kind not in {JobKind.COUNT, JobKind.TRANSCRIPT}  # a parent's steps need no model
    return _wait("model_loading", f"{job.model} is being loaded.", model, scene, 0) if coming and needs_it else None


def _to_be_tried(job: Job, now: float) -> WaitingFor:
    """Say what a delivery waits for."""
    if job.next_try_at is None:
        return WaitingFor(reason="earlier_events", detail="Earlier events of the same job come first.")
    wait_s = job.next_try_at.timestamp() - now
    if wait_s <= 0:
        return WaitingFor(reason="queue", detail="It is next.")
    return WaitingFor(reason="next_try", detail=f"Attempt {job.attempt} did not get through; it is tried again.", estimate_s=wait_s)


def explain_parent(job: Job, open_children: int, head: Job | None) -> WaitingFor:
    """Say what a parent waits for that waits for its children; one of a single child waits for what that waits for.

    Args:
        job: The parent.
        open_children: How many have not ended.
        head: The first of them.
    """
    detail = f"{job.child_count - open_children} of {job.child_count} parts are done."
    waits = head.waiting_for if head is not None else None
    if waits is not None and job.child_count == 1:
        return waits
    if waits is None:
        return WaitingFor(reason="children", detail=detail)
    return waits.model_copy(update={"detail": f"{detail} The next one: {waits.detail}"})


def _wait(reason: str, detail: str, model: ModelState | None, scene: Scene, ahead: int) -> WaitingFor:
    estimate_s = seconds_to_start(model.outlook, ahead, scene.now) if model else None
    return WaitingFor(reason=reason, detail=detail, estimate_s=estimate_s)


def _downloading(model: ModelState | None) -> WaitingFor | None:
    return WaitingFor(reason="downloading", detail=model.detail) if model and model.state == "downloading" else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromtimestamp(float(text), UTC) if text else None
