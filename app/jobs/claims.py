"""What the store answers to workers: about announcing, claiming and giving back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, Field

from app.jobs.record import JobKind, Lane

__all__ = ["Claimed", "Released", "Unannounced", "Unclaimed"]


class Unannounced(BaseModel, frozen=True):
    """What the message about a queued job must say."""

    queue: str
    announce: int


class Claimed(BaseModel, frozen=True):
    """A claim that holds: what the worker needs to run the job."""

    id: str
    kind: JobKind
    model: str
    lane: Lane
    attempt: int
    token: str
    seed: int
    suspect: bool
    request: dict[str, Any]
    blobs: tuple[str, ...] = Field((), description="What it reads in the spool.")
    parent: str | None = Field(None, description="The job whose child this is.")
    created_at: float = Field(0.0, description="When it was submitted, epoch s, by the clock of Redis; likewise the next.")
    started_at: float = Field(0.0, description="When it was last claimed while it was queued.")
    claimed_at: float = Field(0.0, description="When this claim was made: later than that where a parent's step was due.")
    traceparent: str | None = Field(None, description="The span that it belongs to, as W3C's trace context writes it.")
    step: str | None = Field(None, description="Which step of a parent is due, whose children have ended; none: it has had no children.")

    @classmethod
    def of(cls, record: Mapping[str, str], token: str) -> Self:
        """Read a claim from a job's hash."""
        return cls(
            id=record["id"],
            kind=JobKind(record["kind"]),
            model=record["model"],
            lane=Lane(record["lane"]),
            attempt=int(record["attempt"]),
            token=token,
            seed=int(record["seed"]),
            suspect=int(record["charges"]) > 0,
            request=json.loads(record["request"]),
            blobs=json.loads(record.get("blobs", "[]")),
            parent=record.get("parent"),
            created_at=float(record["created_at"]),
            started_at=float(record["started_at"]),
            claimed_at=float(record.get("claimed_at", record["started_at"])),
            traceparent=record.get("traceparent"),
            step=record.get("step"),
        )


class Unclaimed(BaseModel, frozen=True):
    """The message was about a job that is gone, taken, cancelled or announced anew, or that this worker has to leave to others."""

    reason: str
    queue: str | None = Field(None, description="Where it waits for others; none: it does not.")
    needs: int = Field(1, description="The version of work that its worker must know.")


class Released(BaseModel, frozen=True):
    """What became of a job that was given back."""

    id: str
    outcome: str = Field(description="requeued, failed, stale or gone.")
    queue: str | None = None
