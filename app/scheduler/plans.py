"""What the scheduling policy answers: gates, one load, unloads, and why each model's work waits. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from app.jobs.record import Lane

__all__ = ["Plan", "Reason", "Why"]


class Why(StrEnum):
    """Words for programs. A block's own reason (``circuit_open``, ``downloading``) stands beside these."""

    QUEUE = "queue"  # its model is resident: it waits for a slot
    MODEL_LOADING = "model_loading"  # its own, or with holders another's, after which its own comes
    WAITS_FOR_MEMORY = "waits_for_memory"
    OVERDUE_TURN = "overdue_turn"  # a head that waited too long goes first
    MEMORY_PRESSURE = "memory_pressure"  # of other programs: nothing begins, or with need_bytes this model's load does not
    MODEL_TOO_LARGE = "model_too_large"
    ON_BATTERY = "on_battery"  # batch work alone, as the next two
    LOW_POWER = "low_power"
    LOW_CHARGE = "low_charge"
    IN_MEMORY_ELSEWHERE = "in_memory_elsewhere"  # other workers see to it, as with all that end so
    LOADING_ELSEWHERE = "loading_elsewhere"
    SERVED_ELSEWHERE = "served_elsewhere"  # this worker lacks the files, or the memory
    DOWNLOADING_ELSEWHERE = "downloading_elsewhere"
    AWAITED_ELSEWHERE = "awaited_elsewhere"  # who could serve it is away, and was here within a day
    ASKED_ELSEWHERE = "asked_elsewhere"  # a worker that has just begun has not said what it has


@dataclass(frozen=True, slots=True)
class Reason:
    """Why work for a model does not begin."""

    word: str
    need_bytes: int = 0
    free_bytes: int = 0
    budget_bytes: int = 0
    holders: tuple[str, ...] = ()  # who must finish, leave or come first
    pinned: tuple[str, ...] = ()  # those of the holders that a user pinned
    until: float | None = None  # epoch s at which this reason ends by itself, where that is known


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now. An unload frees nothing until it is measured gone, so a plan that unloads does not load."""

    gates: Mapping[tuple[str, Lane], int]  # jobs of that queue that may be in this process at once; 0 or absent: closed
    load: str | None = None
    unload: tuple[str, ...] = ()  # close the gate, make sure that there is no lease, let it go
    leaving: tuple[str, ...] = ()  # those that make room: unloaded, drained, or at the batch after which they go
    reasons: Mapping[str, Reason] = field(default_factory=dict)  # for each model that something waits for
    wake_at: float | None = None  # epoch s of the next moment at which time alone may change the plan
