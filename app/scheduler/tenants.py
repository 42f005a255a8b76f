"""What :mod:`app.scheduler.residency` keeps of each model, and what it tells of them. Times are seconds since the epoch."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.engines.protocols import Frontend

__all__ = ["Held", "Past", "Tenant", "Waiter", "Waiting"]


@dataclass(frozen=True, slots=True)
class Held:
    """A model in memory, at one moment. Times are seconds since the epoch."""

    model: str
    bytes: int
    leases: int
    served: int  # leases that were given since its load
    loaded_at: float
    last_used: float
    pinned_until: float | None  # by a request


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered of a model that was in memory before."""

    load_s: float = 0.0  # how long its last load took
    left_at: float = 0.0  # when it last left
    keep_s: float | None = None  # how long it stays without use, as its last request said; None: that said nothing
    job_s: float | None = None  # exponential mean of how long its leases were held


@dataclass(frozen=True, slots=True)
class Waiting:
    """Those inside this process who wait for a model that is not in memory."""

    count: int
    since: float


@dataclass(slots=True)
class Tenant:
    """A model in memory, with who has a lease on it."""

    frontend: Frontend
    bytes: int
    loaded_at: float
    last_used: float
    leases: int = 0
    served: int = 0
    leaving: bool = False
    pinned_until: float | None = None


@dataclass(slots=True)
class Waiter:
    """Somebody who waits for a model."""

    wanted_by: str
    since: float
    granted: Future[Tenant] = field(default_factory=Future)
