"""What a job is: its fields, its states, and which moves between them are legal.

The state machine is data. A second delivery of a message is an ordinary event
and not an error: the claim simply finds nothing to move.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field

from app.errors import Failure

__all__ = [
    "JSON_TYPE",
    "LEGAL_MOVES",
    "SEEN_TO_BY_API",
    "TERMINAL",
    "Job",
    "JobKind",
    "JobState",
    "Lane",
    "Progress",
    "WaitingFor",
    "completion_id",
    "new_job_id",
]


JSON_TYPE = "application/json"
"""What an output is, where its record does not say otherwise."""


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED})

LEGAL_MOVES: dict[JobState, frozenset[JobState]] = {
    # queued -> failed: a suspect with its last charge, or a job whose model cannot load.
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELED}),
    # running -> queued: rescue of a dead worker's job, or the drain of a stopping one.
    JobState.RUNNING: frozenset({JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELED: frozenset(),
}


class JobKind(StrEnum):
    """What is to be done. The values are the fixed vocabulary of ``POST /v1/jobs``."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    TRANSCRIPTION = "transcription"
    TRANSLATION = "translation"
    SPEECH = "speech"
    OCR = "ocr"
    RERANK = "rerank"
    TRANSCRIPT = "transcript"
    DOWNLOAD = "download"
    BATCH = "batch"  # the lines of a file, each a child; submitted by `/v1/batches` alone
    WEBHOOK = "webhook"  # an event of a job that is to be delivered; made by the moves of that job
    COUNT = "count"  # the tokens of a chat; the API asks for it on a caller's behalf, nobody submits it


SEEN_TO_BY_API = frozenset({JobKind.BATCH, JobKind.WEBHOOK})
"""Kinds that no worker runs and no message is about."""


class Lane(StrEnum):
    """Who waits: a person at a terminal, or nobody in particular."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class Progress(BaseModel, frozen=True):
    """How far a running job is."""

    done: int
    total: int | None = None
    unit: str = "tokens"
    stage: str | None = Field(
        None, description="What is being done, of a job that counts anew for each thing; of a transcript `transcribing`, then `correcting`."
    )
    rate_per_s: float | None = Field(None, description="Units a second, lately.")
    eta_s: float | None = Field(None, description="Seconds to the end, at that rate.")

    def __str__(self) -> str:
        """Return it for people: ``transcribing, 30 of 90 seconds``."""
        return f"{f'{self.stage}, ' if self.stage else ''}{self.done} of {self.total or '?'} {self.unit}"


class WaitingFor(BaseModel, frozen=True):
    """Why a queued job does not run yet, in a word for programs and a sentence for people."""

    reason: str
    detail: str
    estimate_s: float | None = Field(None, description="Seconds until it is likely to start, roughly; null where nobody can say.")


class Job(BaseModel):
    """A job as its callers see it."""

    id: str
    object: str = "job"
    kind: JobKind
    model: str
    lane: Lane
    state: JobState
    attempt: int = 0
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline: datetime | None = Field(None, description="Cancelled if it has not ended by then.")
    progress: Progress | None = None
    waiting_for: WaitingFor | None = None
    position: int | None = Field(None, description="Jobs before this one in its queue, 0 is next.")
    parent: str | None = Field(None, description="The job that this one is done for.")
    children: list[str] = Field(
        default_factory=list, description="Jobs that are done for this one, in order; the first hundred. All: `GET /v1/jobs?parent=`."
    )
    child_count: int = Field(0, description="How many children there are.")
    retry_of: str | None = None
    owner: str | None = Field(None, description="Name of the API key that it was submitted with; null where none was needed.")
    about: str | None = Field(None, description="Of a delivery (kind `webhook`): the job whose event it tells.")
    event: str | None = Field(None, description="Which event: `started`, `completed`, `failed` or `canceled`.")
    next_try_at: datetime | None = Field(None, description="When a delivery is tried next; null: after earlier events of the same job.")
    error: Failure | None = Field(None, description="Why it failed; of a delivery that goes on, why the last try did.")
    usage: dict[str, Any] | None = None
    output: Any = None


def new_job_id() -> str:
    """Return a fresh job id: 24 hexadecimal digits, unguessable."""
    return f"job_{secrets.token_hex(12)}"


def completion_id(job_id: str, kind: JobKind = JobKind.CHAT) -> str:
    """Return the id of the answer that a job makes; its whole output and its stream have the same one."""
    prefix = {JobKind.CHAT: "chatcmpl", JobKind.RERANK: "rerank"}.get(kind, "cmpl")
    return f"{prefix}-{job_id.removeprefix('job_')}"
