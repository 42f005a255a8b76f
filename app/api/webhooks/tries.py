"""When an event is tried, and when no more. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Tries"]

_MINUTE_S, _HOUR_S = 60.0, 3600.0
_JITTER = 0.2  # of a wait, at most, on top of it: those that failed together do not come back together


@dataclass(frozen=True, slots=True)
class Tries:
    """The times of deliveries."""

    look_s: float = 1.0  # how often a process looks for what is due
    longest_s: float = 10.0  # of one try, from the look-up of the name to the head of the answer
    lease_s: float = 15.0  # after so long another process takes what a dead one was trying
    waits_s: tuple[float, ...] = (5.0, 30.0, 2 * _MINUTE_S, 10 * _MINUTE_S, _HOUR_S, 3 * _HOUR_S, 6 * _HOUR_S, 12 * _HOUR_S)
    give_up_s: float = 72 * _HOUR_S  # after the event no further try begins
    most_asked_s: float = 6 * _HOUR_S  # of a receiver's Retry-After so much is heeded

    def wait_s(self, attempt: int, age_s: float, asked_s: float, luck: float) -> float | None:
        """Return how long to wait after a try that failed; None: it was the last one.

        Args:
            attempt: Which it was, from 1. After the last of the waits that one is repeated.
            age_s: Since the event.
            asked_s: How long the receiver wants to be left alone.
            luck: From 0 to 1, drawn.
        """
        planned_s = self.waits_s[min(attempt, len(self.waits_s)) - 1] * (1 + _JITTER * luck)
        wait_s = max(planned_s, min(asked_s, self.most_asked_s))
        return wait_s if age_s + wait_s <= self.give_up_s else None
