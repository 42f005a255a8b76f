"""How often the load of a model has killed the worker, in a file that outlives it.

A load that kills the process each time would do so for every job that asks for
the model, and for ever where the model is to be resident from the start. So
deaths are counted for each model: one is enough not to load it unasked, and
after three nobody gets it for a while. A load that succeeds and a worker that
stops in order wipe the count. Wall-clock time: it must be comparable between processes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from app.scheduler.breadcrumb import model_of

__all__ = ["LoadDeaths"]

_MOST = 3
_REMEMBER_S = 600.0


class LoadDeaths:
    """Deaths by load, for each model. One writer at a time: the worker of the home.

    Args:
        file: JSON, model id to the times of its deaths; need not exist.
        now: Seconds since the epoch.
    """

    def __init__(self, file: Path, now: Callable[[], float] = time.time) -> None:
        self._file = file
        self._now = now
        try:
            self._deaths: dict[str, list[float]] = json.loads(file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            self._deaths = {}

    def record(self, stepped: Iterable[str]) -> None:
        """Count a death for each model whose load *stepped* names."""
        doomed = {model for name in stepped if (model := model_of(name)) is not None}
        for model in doomed:
            self._deaths[model] = [*self._recent(model), self._now()]
        if doomed:
            self._save()

    def suspects(self, model: str) -> bool:
        """Whether the load of *model* killed a worker lately."""
        return bool(self._recent(model))

    def condemns(self, model: str) -> bool:
        """Whether it did so as often as a load may."""
        return len(self._recent(model)) >= _MOST

    def forgive(self, model: str) -> None:
        """Forget the deaths of *model*: it was loaded."""
        if self._deaths.pop(model, None):
            self._save()

    def forgive_all(self) -> None:
        """Forget all deaths."""
        self._file.unlink(missing_ok=True)

    def _recent(self, model: str) -> list[float]:
        return [then for then in self._deaths.get(model, []) if abs(self._now() - then) < _REMEMBER_S]

    def _save(self) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(self._deaths))
        fresh.replace(self._file)
