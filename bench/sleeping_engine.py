"""An engine of the real Protocol that sleeps instead of computing: a step ends a few works, after as long as a GPU might take."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.engines.ledger import KvAccount
from app.engines.protocols import Engine, Event, Finished, Loading
from app.models.spec import ModelSpec
from bench.instant_engine import InstantEngine, InstantFrontend

__all__ = ["AT_ONCE", "LOAD_S", "STEP_S", "SleepingEngine", "SleepingFrontend", "open_frontend"]

AT_ONCE = 4  # works that one step ends; as many again may stand in line meanwhile
STEP_S = 0.05
LOAD_S = 0.5
_SLICES = 10


class SleepingEngine(InstantEngine):
    """Ends at most :data:`AT_ONCE` works in a step, which takes :data:`STEP_S`."""

    slots = 2 * AT_ONCE

    def stepping(self) -> Sequence[str]:
        """Return the oldest."""
        return self._work[:AT_ONCE]

    def step(self) -> Sequence[Event]:
        """Sleep, then end the oldest."""
        done, self._work = self._work[:AT_ONCE], self._work[AT_ONCE:]
        time.sleep(STEP_S)
        return [Finished(one, "stop", 1, 0, 0) for one in done]


class SleepingFrontend(InstantFrontend):
    """Takes :data:`LOAD_S` to load."""

    slots = SleepingEngine.slots

    def open(self, account: KvAccount | None = None) -> Loading:
        """Load nothing, slowly."""
        del account

        def load() -> Iterator[Engine | None]:
            for _ in range(_SLICES):
                time.sleep(LOAD_S / _SLICES)
                yield None
            yield SleepingEngine()

        return load()


def open_frontend(spec: ModelSpec, directory: Path) -> SleepingFrontend:
    """Open a sleeping model; its folder is not looked at."""
    del spec, directory
    return SleepingFrontend()
