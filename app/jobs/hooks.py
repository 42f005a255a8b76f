"""Who wants to be told of a job, and what there is to tell: as records have it. Pure.

An address may have a secret of its owner's in its path or query, so it is shown nowhere but in the record.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer

from app.errors import Failure
from app.jobs.record import JobKind, JobState

__all__ = ["EVENTS", "DeliveryReport", "Event", "StoredWebhook", "Told", "Webhook"]

Event = Literal["started", "completed", "failed", "canceled"]
EVENTS: tuple[Event, ...] = get_args(Event)


class Webhook(BaseModel, frozen=True):
    """Who is told of a job."""

    url: str
    receiver: str = Field(description="Scheme, host and port of the address: what may be busy or away.")
    events: tuple[Event, ...] = EVENTS


StoredWebhook = Annotated[
    Webhook,
    BeforeValidator(lambda value: Webhook.model_validate_json(value) if isinstance(value, str) else value),
    PlainSerializer(lambda hook: hook.model_dump_json(), return_type=str),
]
"""The same, as text where it is dumped: so the store keeps it."""


class Told(BaseModel, frozen=True):
    """One thing that became of a job: the request of a delivery, as ``webhooks.lua`` writes it. It never changes."""

    id: str = Field(description="By which a receiver knows the event again.")
    event: Event
    at: int = Field(description="Epoch s.")
    job: str
    kind: JobKind
    model: str
    state: JobState
    error: Failure | None = None
    retry_of: str | None = None
    url: str
    receiver: str


class DeliveryReport(BaseModel, frozen=True):
    """The output of a delivery."""

    status: int = Field(description="What the receiver answered with.")
