"""What was in memory, and when: a trimmed stream that workers write and dashboards read.

Times are Redis's. It is for looking at alone: what happened while Redis was
away is not told, and nothing is decided by it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal, cast

import redis
from pydantic import BaseModel

from app.jobs import keys
from app.jobs.connection import store_errors
from app.jobs.decoding import ModelState

__all__ = ["MemoryChange", "MemoryLog", "read_memory_log"]

_KEPT = 4000
_TOLD_APART = 0.01  # of the budget: smaller changes of what is used are not told
_USE_EVERY_S = 5.0
_PHASES = frozenset({"loading", "resident"})

What = Literal["began", "loading", "resident", "gone", "used", "left"]


class MemoryChange(BaseModel, frozen=True):
    """One entry: something that changed, and what memory was used just then."""

    id: str  # of the entry: read on after it
    at: float  # epoch s
    worker: str
    what: What  # a worker began or left, a model came or went, or only the use of memory changed
    model: str = ""
    bytes: int = 0  # of the model
    used_bytes: int = 0  # by all of them, and what a load has reserved
    budget_bytes: int = 0


class MemoryLog:
    """What one worker tells. Not thread-safe: one thread says everything.

    Args:
        worker_id: Whose changes these are.
    """

    def __init__(self, worker_id: str) -> None:
        self._worker_id = worker_id
        self._told: dict[str, tuple[What, int]] | None = None  # None: not even that the worker began
        self._told_used = 0
        self._used_due_s = 0.0
        self._pending: dict[str, tuple[What, int]] = {}
        self._pending_used = 0

    def queue(self, pipe: Any, models: Mapping[str, ModelState], used_bytes: int, budget_bytes: int) -> None:  # noqa: ANN401 - a redis pipeline
        """Add to *pipe* what has changed since the last time that this was delivered."""
        now: dict[str, tuple[What, int]] = {
            model: ("loading" if state.state == "loading" else "resident", state.bytes)
            for model, state in models.items()
            if state.state in _PHASES
        }
        told = self._told or {}
        changes: list[tuple[What, str, int]] = [] if self._told is not None else [("began", "", 0)]
        changes += [("gone", model, 0) for model in told if model not in now]
        changes += [(what, model, size) for model, (what, size) in now.items() if told.get(model) != (what, size)]
        apart = abs(used_bytes - self._told_used) >= max(1, budget_bytes * _TOLD_APART)
        if not changes and apart and time.monotonic() >= self._used_due_s:
            changes = [("used", "", 0)]
        for what, model, size in changes:
            self._add(pipe, what, model=model, bytes=size, used_bytes=used_bytes, budget_bytes=budget_bytes)
        self._pending = now
        self._pending_used = used_bytes if changes else self._told_used

    def delivered(self) -> None:
        """Note that what was queued last is in the store."""
        if self._pending_used != self._told_used:
            self._used_due_s = time.monotonic() + _USE_EVERY_S
        self._told, self._told_used = self._pending, self._pending_used

    def queue_leave(self, pipe: Any) -> None:  # noqa: ANN401 - a redis pipeline
        """Add to *pipe* that this worker leaves, and with it whatever it had in memory."""
        if self._told is not None:
            self._add(pipe, "left")

    def _add(self, pipe: Any, what: What, **facts: Any) -> None:  # noqa: ANN401 - a redis pipeline; fields of an entry
        pipe.xadd(keys.MEMORY, {"worker": self._worker_id, "what": what, **facts}, maxlen=_KEPT, approximate=True)


def read_memory_log(client: redis.Redis, after: str = "0-0") -> list[MemoryChange]:
    """Return the changes after a cursor, oldest first: all that are kept, or the id of the last one that was read.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    with store_errors():
        rows = cast("list[tuple[str, dict[str, str]]]", client.xrange(keys.MEMORY, min=f"({after}", count=_KEPT * 2))
    return [
        MemoryChange.model_validate({**fields, "id": entry_id, "at": int(entry_id.partition("-")[0]) / 1000}) for entry_id, fields in rows
    ]
