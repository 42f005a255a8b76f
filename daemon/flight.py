"""One transcript in the making: from a recording that is to be sent to what came of its job.

Recordings with the same content and settings share one. Its calls of the API
run in threads of :mod:`daemon.flights`; what they find is taken over here, in
the daemon's own thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from daemon.api import Api, Gone, Refused
from daemon.outcome import Failed, Outcome, Output, Transcribed
from daemon.signature import Signature

__all__ = ["Flight", "Report", "Stage", "look"]

_PASSING_FAILURES = frozenset(
    {"store_unavailable", "queue_full", "worker_draining", "server_stopping", "disk_full", "insufficient_disk", "hub_unreachable"}
)
"""Codes of jobs that failed for what passes."""


class Stage(StrEnum):
    """Where a recording stands, in words that are shown."""

    SETTLING = "settling"
    READING = "reading"
    WAITING = "waiting"
    SENDING = "sending"
    QUEUED = "queued"
    TRANSCRIBING = "transcribing"
    CORRECTING = "correcting"
    WRITING = "writing"
    FAILED = "failed"
    FINISHED = "finished"


@dataclass(slots=True)
class Flight:
    """What is known of one."""

    identity: str
    sha256: str
    request: Mapping[str, Any]
    wanted_by: dict[Path, Signature] = field(default_factory=dict)
    job_id: str | None = None
    stage: Stage = Stage.WAITING
    progress: Mapping[str, Any] | None = None
    detail: str = ""
    heard: Output | None = None  # while it is being corrected
    outcome: Outcome | None = None
    look_at_s: float = 0.0
    begun_s: float = 0.0  # when its job was submitted, or found
    unwanted_s: float | None = None  # since when nobody wants it
    defects: int = 0  # answers in a row that say that the server failed on it

    @property
    def under_way(self) -> bool:
        """Whether it has a job that has not ended."""
        return self.job_id is not None and self.outcome is None


@dataclass(frozen=True, slots=True)
class Report:
    """What a look at a job found."""

    stage: Stage = Stage.QUEUED
    progress: Mapping[str, Any] | None = None
    detail: str = ""
    heard: Output | None = None
    outcome: Outcome | None = None
    lost: bool = False  # there is no such job, or it failed for what passes: it has to be submitted again
    passing: str = ""  # and this is why


def look(api: Api, job_id: str, *, corrects: bool, knows_heard: bool) -> Report:
    """Look at a job, and fetch what came of it.

    Args:
        api: Where it is.
        job_id: Which.
        corrects: It was asked for a corrected text.
        knows_heard: What it heard was fetched before.

    Raises:
        Away: The API cannot be asked now.
    """
    try:
        job = api.job(job_id)
        match job.get("state"):
            case "succeeded":
                return Report(outcome=_judged(Transcribed(job_id, api.output(job_id)), corrects=corrects))
            case "failed":
                return _failed(api, job_id, job.get("error") or {})
            case "canceled":
                return Report(outcome=_ended_badly(api, job_id, "job_canceled", f"Its job {job_id} was cancelled."))
            case _:
                report = _under_way(job)
                if report.stage is Stage.CORRECTING and not knows_heard:
                    return replace(report, heard=_heard(api, job_id))
                return report
    except Gone:
        return Report(lost=True)
    except Refused as refusal:
        return Report(outcome=Failed("transcribe", refusal.code, refusal.message, job_id))


def _judged(outcome: Transcribed, *, corrects: bool) -> Outcome:
    if corrects and outcome.output.get("corrected") is None:
        message = "The job succeeded without a corrected text."
        return Failed("correct", "not_corrected", message, outcome.job_id, outcome.output)
    return outcome


def _failed(api: Api, job_id: str, error: Mapping[str, Any]) -> Report:
    code, message = str(error.get("code", "job_failed")), str(error.get("message", f"Its job {job_id} failed."))
    if code in _PASSING_FAILURES:
        return Report(lost=True, passing=message)
    return Report(outcome=_ended_badly(api, job_id, code, message))


def _ended_badly(api: Api, job_id: str, code: str, message: str) -> Failed:
    heard = _heard(api, job_id)  # stays, whatever became of its correction
    return Failed("transcribe" if heard is None else "correct", code, message, job_id, heard)


def _heard(api: Api, job_id: str) -> Output | None:
    """Return what a transcript's first part heard, as the transcript itself would say it; None where that is not there."""
    hearing = f"{job_id}.0"
    try:
        # Asked for first: the output of one that failed is answered with its failure, which may be a 500 and is no trouble of the API's.
        job = api.job(hearing)
        if job.get("state") != "succeeded":
            return None
        output = api.output(hearing)
    except (Gone, Refused):
        return None
    return {**output, "model": job.get("model"), "language": output.get("language_code"), "heard_warnings": output.get("warnings", [])}


def _under_way(job: Mapping[str, Any]) -> Report:
    progress = job.get("progress") or {}
    waiting = job.get("waiting_for") or {}
    said = progress.get("stage")
    stage = Stage(said) if said in {Stage.TRANSCRIBING, Stage.CORRECTING} else Stage.QUEUED
    if stage is Stage.QUEUED and job.get("state") == "running":
        stage = Stage.TRANSCRIBING
    return Report(stage, progress or None, "" if waiting.get("reason") == "children" else str(waiting.get("detail") or ""))
