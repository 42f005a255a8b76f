"""Deliveries in the job store: which are due, and what came of trying them. Each move is one atomic script call.

A delivery is a job of kind ``webhook`` that the move of another job made. Who takes one has it for the time of a lease; the
number of its attempt fences what is said of it later. How an event is sent is the API's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from app.errors import Failure
from app.jobs.hooks import DeliveryReport, Told
from app.jobs.record import JobState

if TYPE_CHECKING:
    from app.jobs.store import JobStore

__all__ = ["Deliveries", "Delivery"]

_KEEP_TOKENS_S = 300
_FACTS = 4  # of each delivery, in the script's answer


class Delivery(NamedTuple):
    """An event that is to be sent now."""

    id: str
    attempt: int  # from 1
    age_s: float  # since it happened
    told: Told


class Deliveries:
    """Deliveries of one job store, whoever they are for. Synchronous and thread-safe."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def take(self, *, most: int, most_each: int, busy: Mapping[str, int], lease_s: float) -> list[Delivery]:
        """Take what is due, the longest first.

        Args:
            most: At most so many.
            most_each: And so many of one receiver, with those that the caller has of it under way.
            busy: How many these are.
            lease_s: Who has said nothing of a delivery after this time is thought dead, and another one may take it.
        """
        said = self._store.moves("webhook_take", {"most": most, "most_each": most_each, "busy": dict(busy), "lease": lease_s})
        rows = (said[start : start + _FACTS] for start in range(0, len(said), _FACTS))
        return [Delivery(row[0], int(row[1]), float(row[2]), Told.model_validate_json(row[3])) for row in rows]

    def delivered(self, delivery: Delivery, status: int) -> bool:
        """Note that the receiver has it, and answered so; return whether the delivery was the caller's still."""
        return self._tried(delivery, {"ended": JobState.SUCCEEDED}, DeliveryReport(status=status).model_dump_json())

    def given_up(self, delivery: Delivery, failure: Failure) -> bool:
        """Note that it is tried no more; otherwise as :meth:`delivered`."""
        return self._tried(delivery, {"ended": JobState.FAILED, "error": failure.model_dump_json()})

    def put_back(self, delivery: Delivery, wait_s: float, failure: Failure | None = None) -> bool:
        """Have it tried again after a while, by whoever takes it then; otherwise as :meth:`delivered`.

        Args:
            delivery: Which.
            wait_s: How long nobody takes it.
            failure: Why this try failed; None: nobody knows, so what is known of the one before stands.
        """
        return self._tried(delivery, {"wait": wait_s, "error": failure.model_dump_json() if failure else None})

    def _tried(self, delivery: Delivery, facts: Mapping[str, Any], output: str = "") -> bool:
        about = {"id": delivery.id, "attempt": delivery.attempt, "keep_tok": _KEEP_TOKENS_S}
        return bool(self._store.moves("webhook_tried", {**about, **facts}, output)[0] == "ok")
