"""Kinds of jobs that are done in steps: the first one may plan children, and later ones make something of what came of them.

The author of a kind offers :class:`Steps`; this module runs them between the
claim and the record. A step may run again: its worker may die before the
record, and what it returned is then lost. So it reads and computes, and leaves
nothing behind but what may be left twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from app.actors.runs import Ending, Joined, Planned, Run
from app.engines.protocols import Failed
from app.errors import EngineFailed
from app.jobs.chains import Chains, Children, Plan
from app.jobs.record import JobKind

if TYPE_CHECKING:
    from app.jobs.store import JobStore
    from app.scheduler.breadcrumb import Preparing

__all__ = ["STEPS_AT_ONCE", "ChainSteps", "Steps"]

STEPS_AT_ONCE = 4  # they need no model, but each has a thread


class Steps(Protocol):
    """The steps of one kind. Called by many threads at once, never on the GPU's."""

    def plan(self, run: Run) -> Plan | Joined | None:
        """Return what children a claimed job is to have; None: none, it goes on as an ordinary job. Or what there is to say at once.

        It is asked of every job of the kind, children too: ``run.claim.parent`` says whose. No model is leased; one that is
        needed is leased here and let go of; what may take the process down is named here (a plan may wait for long, and a
        worker's death meanwhile is no fault of the job). It may look at ``run.ended``, and leave at once where the run is ended.

        Raises:
            InferenceError: The job fails with it.
        """
        ...

    def join(self, run: Run, children: Children) -> Joined | Plan:
        """Return a parent's output once its children have ended, or plan more of them.

        Args:
            run: Of the parent; ``run.claim.step`` is the step that the plan named.
            children: All that the parent has had, of earlier steps too. Each succeeded, unless the plan keeps failures.

        Raises:
            InferenceError: The job fails with it.
        """
        ...


class ChainSteps:
    """Runs the steps of every kind that has some.

    Args:
        store: Of the jobs.
        preparing: Told which job may take the process down.
    """

    def __init__(self, store: JobStore, preparing: Preparing) -> None:
        self._chains = Chains(store)
        self._preparing = preparing
        self.kinds: dict[JobKind, Steps] = {}  # who knows the steps

    def take(self, run: Run) -> Ending | None:
        """Take the step that is due; None: there is none, and the job is an ordinary one.

        Raises:
            InferenceError: What the step raises.
        """
        steps, claim = self.kinds.get(run.claim.kind), run.claim
        if steps is None:
            unknown = f"This worker does not know the step {claim.step!r} of jobs of kind {claim.kind!r}."
            return Failed(run.work_id, EngineFailed(unknown)) if claim.step else None
        if claim.step:
            with self._preparing.naming(run.work_id):
                return self._next(steps.join(run, self._chains.children(claim.id)))
        return self._next(steps.plan(run))

    @staticmethod
    def _next(next_: Plan | Joined | None) -> Ending | None:
        return Planned(next_) if isinstance(next_, Plan) else next_

    def record(self, run: Run, planned: Planned) -> bool:
        """Record a plan and return whether it stands: it does not where the claim holds no longer."""
        return self._chains.plan(run.claim, planned.plan)
