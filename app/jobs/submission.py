"""What a caller hands in, and what it gets for it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from app.jobs.record import JobKind, Lane, new_job_id

__all__ = ["Idempotency", "NewJob", "Submitted"]


class Idempotency(BaseModel, frozen=True):
    """What makes two submissions the same one."""

    scope: str = Field(description="Owner of the key and route.")
    key: str
    digest: str = Field(description="Hash of the canonical body.")


class NewJob(BaseModel, frozen=True):
    """A job to be accepted."""

    id: str = Field(default_factory=new_job_id)
    kind: JobKind
    model: str = Field(description="Canonical id of the catalog.")
    lane: Lane
    request: dict[str, Any] = Field(description="The validated OpenAI body.")
    waited: bool = Field(description="Somebody waits on it: cancelled when the last waiter hangs up.")
    idempotency: Idempotency | None = None
    retry_of: str | None = Field(None, description="The ended job whose request this one repeats.")
    deadline: datetime | None = Field(None, description="Cancelled if it has not ended by then.")


class Submitted(BaseModel, frozen=True):
    """What became of a submission."""

    job_id: str
    created: bool = Field(description="False: an idempotent retry joined this earlier job.")
