"""When each model is likely to be in memory, from the reasons of a plan. Pure, and decides nothing.

What is before a model is taken one after the other: a load takes as long as the
model's last one took, holders finish all that they have, and who is overdue is
served after one more of their jobs. So a wait for memory may be told too long
when only some holders must go, and too short when others become overdue first.
The half second for which an idle model is left alone is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.jobs.estimate import Outlook
from app.scheduler.plans import Plan, Reason, Why
from app.scheduler.world import World

__all__ = ["Forecast"]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is likely to come of one plan."""

    world: World
    plan: Plan
    job_s: Mapping[str, float]  # by model: mean seconds of its last jobs; not there: none has ended
    loading_since: float = 0.0  # epoch s

    def outlook(self, model: str) -> Outlook:
        """Return what can be said of *model*, in figures that do not change with every job."""
        stays = any(one.model == model for one in self.world.residents) and model not in self.plan.leaving
        ready_s = None if stays else self._ready_s(model, frozenset())
        ready_at = None if ready_s is None else round(self.world.now + ready_s, 1)
        mean_s = self.job_s.get(model)
        return Outlook(
            ready_at=0.0 if stays else ready_at,
            job_s=None if mean_s is None else float(f"{mean_s:.2g}"),
            slots=self.world.facts(model).slots,
        )

    def _ready_s(self, model: str, asking: frozenset[str]) -> float | None:
        """Return the seconds until *model* is in memory; None of one that *asking* wait for themselves."""
        load_s = self.world.facts(model).load_s
        if not load_s or model in asking:
            return None
        if model == self.world.loading:
            return max(0.0, self.loading_since + load_s - self.world.now)
        room_s = 0.0 if model == self.plan.load else self._room_s(model, asking | {model})
        return None if room_s is None else room_s + load_s

    def _room_s(self, model: str, asking: frozenset[str]) -> float | None:
        """Return the seconds until *model*'s load can begin."""
        reason = self.plan.reasons.get(model, Reason(""))
        match reason.word:
            case Why.MODEL_LOADING:
                return _last([self._ready_s(holder, asking) for holder in reason.holders])
            case Why.WAITS_FOR_MEMORY | Why.OVERDUE_TURN if not reason.pinned:
                done_s = _last([self._done_s(holder, asking) for holder in reason.holders])
                turn_s = self._turn_s(model, reason) if reason.word == Why.WAITS_FOR_MEMORY else None
                return min((one for one in (done_s, turn_s) if one is not None), default=None)
            case _:
                return None if reason.until is None else max(0.0, reason.until - self.world.now)

    def _done_s(self, holder: str, asking: frozenset[str]) -> float | None:
        """Return the seconds until *holder* has finished what it has, whether it is in memory or has to come first."""
        resident = next((one for one in self.world.residents if one.model == holder), None)
        here_s = self._ready_s(holder, asking) if resident is None else 0.0
        backlog = self.world.backlog(holder)
        jobs = backlog.asked + backlog.batch.count + (resident.leases if resident else 0)
        if here_s is None or not jobs:
            return here_s
        mean_s = self.job_s.get(holder)
        return None if mean_s is None else here_s + max(1.0, jobs / self.world.facts(holder).slots) * mean_s

    def _turn_s(self, model: str, reason: Reason) -> float | None:
        """Return the seconds until *model* is overdue and those at work have ended their jobs; None if it is overdue already."""
        heads = [self.world.overdue_at(lane, line.head_at) for lane, line in self.world.backlog(model).lines]
        left_s = min(heads, default=0.0) - self.world.now
        return left_s + max((self.job_s.get(holder, 0.0) for holder in reason.holders), default=0.0) if left_s > 0 else None


def _last(each: list[float | None]) -> float | None:
    known = [one for one in each if one is not None]
    return max(known, default=0.0) if len(known) == len(each) else None
