"""What a caller hands in, and what it gets for it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from app.jobs.hooks import StoredWebhook
from app.jobs.record import JobKind, Lane, new_job_id

__all__ = ["Idempotency", "NewJob", "Submitted", "download_job"]


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
    stored: bool = Field(default=False, description="Kept after its end as long as a submitted job, even if somebody waited on it.")
    idempotency: Idempotency | None = None
    blobs: tuple[str, ...] = Field((), description="What it reads in the spool; held there for the job's id before it is submitted.")
    retry_of: str | None = Field(None, description="The ended job whose request this one repeats.")
    deadline: datetime | None = Field(None, description="Cancelled if it has not ended by then.")
    traceparent: str | None = Field(None, description="The span that it belongs to, as W3C's trace context writes it.")
    owner: str | None = Field(None, description="Name of the API key that submits it.")
    webhook: StoredWebhook | None = Field(None, description="Who is told what becomes of it.")
    lasts_s: float | None = Field(None, description="The same in seconds from its submission, and of its retries from theirs.")

    home: str | None = Field(None, description="Of a download: the home that wants the files, where that is another machine's worker's.")

    @property
    def flight(self) -> Idempotency | None:
        """What another submission joins this one by. Of downloads a model has one at a time on each machine, whoever asks."""
        if self.kind is JobKind.DOWNLOAD:
            return Idempotency(scope="download", key=self.model.casefold() + (f"@{self.home}" if self.home else ""), digest="")
        return self.idempotency


class Submitted(BaseModel, frozen=True):
    """What became of a submission."""

    job_id: str
    created: bool = Field(description="False: an idempotent retry joined this earlier job.")


def download_job(model: str, repo: str, *, lane: Lane = Lane.BATCH, deadline: datetime | None = None, home: str | None = None) -> NewJob:
    """Return the job that fetches *repo* as the files of *model*, for *home* or else for the machine that has the jobs."""
    request = {"model": model, "repo": repo}
    return NewJob(kind=JobKind.DOWNLOAD, model=model, lane=lane, request=request, waited=False, deadline=deadline, home=home)
