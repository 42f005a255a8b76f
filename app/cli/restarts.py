"""When a process that died is started again, and when not. Pure: no clock, no processes.

The first death is answered at once: a worker that was killed is back within a
second. Deaths that follow each other wait ever longer. A process that stays
up for a minute starts with a clean slate. One that again and again exits
before it was ready, each time in the same way, would do so for ever; one
whose settings are wrong from the beginning is not even tried twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

__all__ = ["Exit", "GiveUp", "History", "Restart", "after_exit"]

_STEADY_S = 60.0
_FIRST_DELAY_S = 0.5
_MAX_DELAY_S = 30.0
_SAME_FAILURES = 5
_WRONG_USAGE = 2  # the exit code of a wrong setting: trying again cannot mend it


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended."""

    status: int  # as of subprocess: negative for a signal
    lived_s: float
    was_ready: bool
    last_line: str = ""  # of its stderr

    @property
    def symptom(self) -> tuple[int, str]:
        """What two failed starts have in common if their cause is the same; numbers (ids, times) do not count."""
        return self.status, re.sub(r"[0-9]+", "#", self.last_line)


@dataclass(frozen=True, slots=True)
class History:
    """What is remembered of a process from death to death."""

    deaths: int = 0  # in a row, without a steady minute between
    failed_starts: int = 0  # in a row, with the same symptom
    served: bool = False  # ready in some earlier life
    symptom: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after *delay_s*."""

    delay_s: float
    history: History


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It cannot start."""

    failed_starts: int


def after_exit(history: History, end: Exit) -> Restart | GiveUp:
    """Decide what follows the death of a process that nobody asked to stop."""
    if end.was_ready:
        deaths = 1 if end.lived_s >= _STEADY_S else history.deaths + 1
        return Restart(_delay_s(deaths), History(deaths=deaths, served=True))
    same = history.failed_starts + 1 if end.symptom == history.symptom else 1
    if same >= _SAME_FAILURES or (end.status == _WRONG_USAGE and not history.served):
        return GiveUp(same)
    after = replace(history, deaths=history.deaths + 1, failed_starts=same, symptom=end.symptom)
    return Restart(_delay_s(after.deaths), after)


def _delay_s(deaths: int) -> float:
    """0, 0.5, 1, 2, 4 ... 30 seconds."""
    return 0.0 if deaths <= 1 else min(_MAX_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(deaths - 2, 10))
