"""Runs whose jobs are this worker's no longer: cancelled, or rescued from it. Each is withdrawn as soon as that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.actors.runs import Run, Runs, Withdrawn

if TYPE_CHECKING:
    from app.actors.runner import Runner
    from app.jobs.store import JobStore

__all__ = ["Withdrawals"]


class Withdrawals:
    """Withdraws them. Thread-safe.

    Args:
        store: Says whose jobs are.
        runs: All that run here.
        runner: Stops one.
    """

    def __init__(self, store: JobStore, runs: Runs, runner: Runner) -> None:
        self._store = store
        self._runs = runs
        self._runner = runner

    def cancel(self, job_id: str) -> None:
        """Withdraw the runs of a job that was cancelled."""
        for run in self._runs.of_job(job_id):
            self.lose(run)

    def lose(self, run: Run) -> None:
        """Withdraw a run whose record is somebody else's."""
        self._runner.withdraw(run, Withdrawn.LOST)

    def find(self) -> None:
        """Notice cancellations whose publication was missed.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        runs = self._runs.all()
        if runs:
            ours = self._store.still_running([(run.claim.id, run.claim.token) for run in runs])
            for run in runs:
                # A run that has ended is being committed: its record may well be terminal already.
                if run.claim.id not in ours and not run.ended.done():
                    self.lose(run)

    def hand_back(self, model: str) -> None:
        """Give those jobs of a model back to their queue whose answers have not begun."""
        for run in self._runs.all():
            if run.claim.model == model and not any(choice.begun for choice in run.choices):
                self._runner.withdraw(run, Withdrawn.DRAINED)
