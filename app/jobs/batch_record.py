"""What a batch is: its fields, and what OpenAI calls the state that its job is in. Pure.

A batch is a job of kind ``batch``. A job that is cancelled has ended at once; its batch has not, until its results are
written: it is *settled* then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.errors import Failure
from app.jobs.record import JobState

__all__ = ["ALL_MODELS", "FIELDS", "USAGE", "BatchError", "BatchRecord", "BatchStatus", "Outcome", "decode_batch"]

ALL_MODELS = "several"
"""What the record of a batch has for its model: its lines name theirs."""

USAGE = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")

FIELDS = (
    "id", "kind", "state", "created_at", "finished_at", "deadline", "request", "blobs", "error", "errors", "total", "completed", "failed",
    "started_at", "finalizing_at", "settled_at", "owner", "only_model", "output_file_id", "error_file_id", *USAGE,
)  # fmt: skip
"""The fields of a job's hash that :func:`decode_batch` reads."""

BatchStatus = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]


class BatchError(BaseModel, frozen=True):
    """Why a batch's file cannot be used."""

    code: str
    line: int | None = Field(None, description="Of the file, counted from 1; null: it is about all of it.")
    message: str
    param: str | None = Field(None, description="The field at fault.")


class Outcome(BaseModel, frozen=True):
    """What came of a batch's lines."""

    completed: int
    failed: int
    output_file_id: str | None = None
    error_file_id: str | None = None


class BatchRecord(BaseModel, frozen=True):
    """A batch as its clerk and its callers see it. Moments are epoch s."""

    job_id: str
    state: JobState
    owner: str | None = Field(description="Name of the API key that submitted it; none: none was needed.")
    request: dict[str, Any]
    input_blob: str = Field(description="The file's content, in the spool.")
    created_at: float
    started_at: float | None
    finalizing_at: float | None
    finished_at: float | None
    settled_at: float | None
    expires_at: float | None
    error: Failure | None
    errors: tuple[BatchError, ...]
    total: int | None = Field(description="Lines; none: they have not been counted.")
    completed: int
    failed: int
    model: str | None = Field(description="Of all lines, where it is one.")
    output_file_id: str | None
    error_file_id: str | None
    usage: dict[str, int]

    @property
    def is_late(self) -> bool:
        """Whether it had not ended in time."""
        return self.error is not None and self.error.code == "deadline_exceeded"

    @property
    def status(self) -> BatchStatus:
        """OpenAI's word for where it stands."""
        match self.state:
            case JobState.QUEUED:
                return "validating"
            case JobState.RUNNING:
                return "in_progress" if self.finalizing_at is None else "finalizing"
            case JobState.SUCCEEDED:
                return "completed"
            case JobState.FAILED:
                return "failed"
            case JobState.CANCELED if self.settled_at is None:
                return "finalizing" if self.is_late else "cancelling"
            case _:
                return "expired" if self.is_late else "cancelled"


def decode_batch(fields: Mapping[str, str | None]) -> BatchRecord:
    """Return the batch that :data:`FIELDS` of a job's hash describe."""
    return BatchRecord(
        job_id=str(fields["id"]),
        state=JobState(str(fields["state"])),
        owner=fields["owner"],
        request=json.loads(fields["request"] or "{}"),
        input_blob=json.loads(fields["blobs"] or '[""]')[0],
        created_at=float(fields["created_at"] or 0),
        started_at=_moment(fields["started_at"]),
        finalizing_at=_moment(fields["finalizing_at"]),
        finished_at=_moment(fields["finished_at"]),
        settled_at=_moment(fields["settled_at"]),
        expires_at=_moment(fields["deadline"]),
        error=Failure.model_validate_json(fields["error"]) if fields["error"] else None,
        errors=tuple(BatchError.model_validate(error) for error in json.loads(fields["errors"] or "[]")),
        total=int(fields["total"]) if fields["total"] is not None else None,
        completed=int(fields["completed"] or 0),
        failed=int(fields["failed"] or 0),
        model=fields["only_model"] or None,
        output_file_id=fields["output_file_id"],
        error_file_id=fields["error_file_id"],
        usage={name: int(fields[name] or 0) for name in USAGE},
    )


def _moment(text: str | None) -> float | None:
    return float(text) if text else None
