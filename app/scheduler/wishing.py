"""What users' wishes mean for the policy, and when they are granted.

A model that is to be in memory is waited for like one that somebody asks, and
pinned for as long as was said once it is there. One that is to be absent is
nothing that always stays: it leaves when nothing uses it, and is not loaded
again before somebody asks for it or the worker starts anew.

For one thread. What is remembered here alone, which models were sent away,
ends with the process, and is meant to.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from app.scheduler.world import Backlog, Line

if TYPE_CHECKING:
    from app.errors import InferenceError
    from app.jobs.wishes import Wish
    from app.scheduler.conductor import Gates

__all__ = ["Wishing"]

_TELL_S = 60.0  # for so long it is told why a model did not come


@dataclass(slots=True)
class Wishing:
    """The wishes of this moment."""

    gates: Gates  # where they are
    _started_at: float = field(default_factory=time.time)
    _wishes: Mapping[str, Wish] = field(default_factory=dict)
    _sent_away: set[str] = field(default_factory=set)

    def look(self) -> None:
        """See what is wanted now.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        self._wishes = self.gates.wishes()

    @property
    def wanted(self) -> frozenset[str]:
        """The models that are to be in memory."""
        return frozenset(model for model, wish in self._wishes.items() if wish.want == "resident" and wish.ended_at is None)

    @property
    def open(self) -> bool:
        """Whether something is wanted that has not been granted yet."""
        return any(wish.want == "absent" or (wish.until is None and wish.ended_at is None) for wish in self._wishes.values())

    def ask(self, backlogs: dict[str, Backlog], left_at: Mapping[str, float]) -> None:
        """Add to *backlogs* one who waits for each model that is to be in memory, is not, and can come.

        Args:
            backlogs: What waits otherwise.
            left_at: Those models, and the epoch s at which each was last here: one that had to leave waits since then.
        """
        for model, left in left_at.items():
            since = max(self._wishes[model].at, left)
            before = backlogs.get(model, Backlog())
            head_at = min(since, before.waiting.head_at) if before.waiting.count else since
            backlogs[model] = replace(before, waiting=Line(before.waiting.count + 1, head_at))
        self._sent_away -= backlogs.keys()

    def pinned_until(self, model: str, by_requests: float | None) -> float | None:
        """Return until when a resident stays: as a user said, or as its last requests did; whichever is later."""
        wish = self._wishes.get(model)
        if wish is None:
            return by_requests
        if wish.want == "absent":
            return None
        by_wish = wish.until
        if by_wish is None and wish.keep_s is not None:  # it came a moment ago
            by_wish = time.time() + wish.keep_s
        return max((until for until in (by_wish, by_requests) if until is not None), default=None)

    def unwanted(self, model: str) -> bool:
        """Whether *model* is to leave, or to stay away until somebody asks for it."""
        wish = self._wishes.get(model)
        return model in self._sent_away or (wish is not None and wish.want == "absent" and wish.at >= self._started_at)

    def settle(
        self,
        resident: Collection[str],
        here: Collection[str],
        elsewhere: Mapping[str, float],
        errors: Mapping[str, InferenceError],
    ) -> None:
        """Note what became of each wish.

        Args:
            resident: Models in memory. Others say themselves what they have.
            here: These, and those on their way in or out.
            elsewhere: Likewise of other workers, with the epoch s at which the first worker began that has each.
            errors: Why models cannot come now, to any worker.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        for model, wish in self._wishes.items():
            if wish.want == "absent":
                new = self._after_absent(model, wish, here, elsewhere.get(model, math.inf))
            else:
                comes = model in here or model in elsewhere
                new = _after_resident(wish, resident=model in resident, error=None if comes else errors.get(model))
            if new != wish:
                self.gates.settle(model, wish, new)

    def _after_absent(self, model: str, wish: Wish, here: Collection[str], other_began_at: float) -> Wish | None:
        old = wish.at < self._started_at  # said to a worker that is gone, and so is what it had in memory
        if model not in here and not old:
            self._sent_away.add(model)
        if other_began_at <= wish.at:  # it was said to that one too, who has not let go yet
            return wish
        return None if old or model not in here else wish


def _after_resident(wish: Wish, *, resident: bool, error: InferenceError | None) -> Wish | None:
    now = time.time()
    if wish.ended_at is not None:
        return wish if now < wish.ended_at + _TELL_S else None
    if wish.until is not None and now >= wish.until:
        return None
    if error is not None:
        return wish.model_copy(update={"error": error.as_fact(), "ended_at": now})
    if resident and wish.until is None:
        return None if wish.keep_s is None else wish.model_copy(update={"until": now + wish.keep_s})
    return wish
