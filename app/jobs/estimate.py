"""When a job that waits is likely to start: a sum over what its worker tells of the model. Pure.

It promises an order of magnitude. The mean of the last jobs stands for all that
come, slots are taken to end one after another at an even pace, and nobody who
comes later is foreseen: not the people who overtake batch work, not another
model that becomes overdue. With answers of much the same length it is off by
about one answer; with a few long ones among short ones by several times.
Where something is not known (a model that was never loaded, one that has ended
no job) there is no estimate rather than a guess.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

__all__ = ["Outlook", "seconds_to_start"]


class Outlook(BaseModel, frozen=True):
    """What a worker can say of the time that work for one model takes."""

    ready_at: float | None = Field(None, description="Epoch s at which it is likely to be in memory; 0: it is; null: nobody can say.")
    job_s: float | None = Field(None, description="How long its last jobs had a slot each, as an exponential mean.")
    slots: int = Field(1, description="Jobs that it runs at once.")


def seconds_to_start(outlook: Outlook, ahead: int, now: float) -> float | None:
    """Return the seconds until a queued job is likely to start, None where nobody can say.

    Args:
        outlook: Of its model.
        ahead: Jobs that come before it.
        now: Epoch s, by the clock of the worker.
    """
    if outlook.ready_at is None:
        return None
    ready_s = max(0.0, outlook.ready_at - now)
    # A model that is there has its slots taken, else the job would not wait; one that comes finds them all free.
    ends = ahead + 1 if outlook.ready_at == 0 else max(0, ahead + 1 - outlook.slots)
    if not ends:
        return round(ready_s, 1)
    return None if outlook.job_s is None else round(ready_s + ends * outlook.job_s / outlook.slots, 1)
