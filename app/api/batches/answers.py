"""What the routes for batches answer with."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, Field

from app.errors import BatchNotFound
from app.jobs.batch_record import BatchError, BatchRecord, BatchStatus
from app.jobs.record import JobState

__all__ = ["Batch", "BatchPage", "batch_id", "job_of", "shown"]

_ID = re.compile(r"batch_([0-9a-f]{24})")


class BatchErrors(BaseModel):
    """Why a batch's file cannot be used; the first hundred reasons."""

    object: Literal["list"] = "list"
    data: list[BatchError]


class BatchCounts(BaseModel):
    """How many lines stand where. In the end every line is one or the other."""

    total: int = Field(description="0 until the file has been checked.")
    completed: int
    failed: int = Field(description="Those that are in the error file, or will be.")


class BatchCachedTokens(BaseModel):
    """Details of a batch's input."""

    cached_tokens: int


class BatchReasoningTokens(BaseModel):
    """Details of a batch's output."""

    reasoning_tokens: int


class BatchUsage(BaseModel):
    """What the lines took together, in tokens."""

    input_tokens: int
    input_tokens_details: BatchCachedTokens
    output_tokens: int
    output_tokens_details: BatchReasoningTokens
    total_tokens: int


class Batch(BaseModel):
    """A batch, in OpenAI's shape. Moments are Unix seconds."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None = Field(description="Of all lines, where it is one.")
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None = Field(description="What was answered; null while nothing is written, or where nothing was answered.")
    error_file_id: str | None = Field(description="What was not answered, and why; likewise.")
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: BatchCounts
    usage: BatchUsage | None
    metadata: dict[str, str] | None


class BatchPage(BaseModel):
    """Batches, newest first. The next page is ``after=last_id``."""

    object: Literal["list"] = "list"
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool


def batch_id(job_id: str) -> str:
    """Return the id of the batch that a job is."""
    return f"batch_{job_id.removeprefix('job_')}"


def job_of(wanted: str) -> str:
    """Return the id of the job that a batch is.

    Raises:
        BatchNotFound: There can be no batch of this id.
    """
    match = _ID.fullmatch(wanted)
    if match is None:
        raise BatchNotFound(wanted)
    return f"job_{match[1]}"


def shown(record: BatchRecord) -> Batch:
    """Return a batch as callers see it."""
    status, request = record.status, record.request
    ended = _seconds(record.finished_at)
    canceled = record.state is JobState.CANCELED and not record.is_late
    return Batch(
        id=batch_id(record.job_id),
        endpoint=request["endpoint"],
        model=record.model,
        errors=BatchErrors(data=list(record.errors)) if record.errors else None,
        input_file_id=request["input_file_id"],
        completion_window=request["completion_window"],
        status=status,
        output_file_id=record.output_file_id,
        error_file_id=record.error_file_id,
        created_at=int(record.created_at),
        in_progress_at=_seconds(record.started_at),
        expires_at=_seconds(record.expires_at),
        finalizing_at=_seconds(record.finalizing_at) or (ended if record.is_late else None),
        completed_at=ended if status == "completed" else None,
        failed_at=ended if status == "failed" else None,
        expired_at=_seconds(record.settled_at) if status == "expired" else None,
        cancelling_at=ended if canceled else None,
        cancelled_at=_seconds(record.settled_at) if status == "cancelled" else None,
        request_counts=BatchCounts(total=record.total or 0, completed=record.completed, failed=record.failed),
        usage=_usage(record),
        metadata=request.get("metadata"),
    )


def _usage(record: BatchRecord) -> BatchUsage | None:
    took = record.usage
    if not any(took.values()):
        return None
    return BatchUsage(
        input_tokens=took["input_tokens"],
        input_tokens_details=BatchCachedTokens(cached_tokens=took["cached_tokens"]),
        output_tokens=took["output_tokens"],
        output_tokens_details=BatchReasoningTokens(reasoning_tokens=took["reasoning_tokens"]),
        total_tokens=took["input_tokens"] + took["output_tokens"],
    )


def _seconds(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
