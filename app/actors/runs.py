"""The jobs that this worker is running, and how each of them ended."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum

from app.engines.protocols import Embedded, Failed, Finished
from app.jobs.claims import Claimed
from app.jobs.rescue import work_id

__all__ = ["Ending", "Run", "Runs", "Withdrawn"]


class Withdrawn(Enum):
    """Why a run ended without a result of its own."""

    LOST = "lost"  # cancelled, or rescued from us: the record is not ours any more
    DRAINED = "drained"  # this worker stops: the job goes back to its queue


Ending = Finished | Embedded | Failed | Withdrawn


@dataclass(slots=True)
class Run:
    """One claim that is being worked on."""

    claim: Claimed
    ended: Future[Ending] = field(default_factory=Future)
    text: list[str] = field(default_factory=list)

    @property
    def work_id(self) -> str:
        """What engines know this run by."""
        return work_id(self.claim.id, self.claim.attempt)

    def end(self, ending: Ending) -> None:
        """Say how it ended; only the first word counts."""
        if not self.ended.done():
            self.ended.set_result(ending)


class Runs:
    """All runs of this worker, by work id and by job. Thread-safe."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._changed = threading.Condition()

    def add(self, run: Run) -> None:
        """Count a run."""
        with self._changed:
            self._runs[run.work_id] = run

    def remove(self, run: Run) -> None:
        """Forget a run that is committed, released or lost."""
        with self._changed:
            self._runs.pop(run.work_id, None)
            self._changed.notify_all()

    def get(self, wanted: str) -> Run | None:
        """Return the run of a work id."""
        with self._changed:
            return self._runs.get(wanted)

    def of_job(self, job_id: str) -> list[Run]:
        """Return the runs of a job: one, or none."""
        with self._changed:
            return [run for run in self._runs.values() if run.claim.id == job_id]

    def all(self) -> list[Run]:
        """Return every run."""
        with self._changed:
            return list(self._runs.values())

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait for every run's end; return whether that came."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._runs, timeout_s)
