"""An engine of the real Protocol that finishes everything in its next step, so that only the job system is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.engines.ledger import KvAccount
from app.engines.protocols import Engine, Event, Finished, Loading, Sampling, TextWork, Work
from app.models.spec import ModelSpec

__all__ = ["InstantEngine", "InstantFrontend", "open_frontend"]

_SLOTS = 64


class InstantEngine:
    """Finishes all it was given, without a token."""

    slots = _SLOTS

    def __init__(self) -> None:
        self._work: list[str] = []

    def add(self, work: Work) -> None:
        """Take *work*."""
        self._work.append(work.id)

    def cancel(self, work_id: str) -> None:
        """Forget it."""
        self._work = [one for one in self._work if one != work_id]

    @property
    def has_work(self) -> bool:
        """Whether anything was given."""
        return bool(self._work)

    def stepping(self) -> Sequence[str]:
        """Return all of it."""
        return list(self._work)

    def step(self) -> Sequence[Event]:
        """Finish all of it."""
        done, self._work = self._work, []
        return [Finished(one, "stop", 1, 0, 0) for one in done]

    def close(self) -> None:
        """Forget all of it."""
        self._work.clear()


class InstantFrontend:
    """Reads nothing of a request."""

    context = 100_000
    slots = _SLOTS

    def prepare(
        self, work_id: str, kind: str, request: Mapping[str, Any], *, seed: int, published: Sequence[int] = (), alone: bool = False
    ) -> Work:
        """Return one token's work."""
        del kind, request
        return TextWork(work_id, (1,), 1, Sampling(seed), published=tuple(published), alone=alone)

    def open(self, account: KvAccount | None = None) -> Loading:
        """Load nothing."""
        del account

        def load() -> Iterator[Engine | None]:
            yield InstantEngine()

        return load()


def open_frontend(spec: ModelSpec, directory: Path) -> InstantFrontend:
    """Open an instant model; its folder is not looked at."""
    del spec, directory
    return InstantFrontend()
