"""What the actor does with one message: claim, hand over to an engine, wait, commit."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from app.actors.chains import ChainSteps
from app.actors.choices import works_of
from app.actors.made import made_of
from app.actors.observing import Observer
from app.actors.runs import Choice, Ending, Errand, Planned, Run, Runs, Withdrawn
from app.engines.protocols import Failed, TextWork, Tokens, Work
from app.errors import Failure, InferenceError, StoreUnavailable
from app.jobs.bodies import keep_seconds
from app.jobs.claims import Unclaimed
from app.jobs.published import read_published
from app.jobs.record import JobKind, JobState
from app.jobs.tally import Tally
from app.log import get_logger

if TYPE_CHECKING:
    from app.engines.protocols import Frontend
    from app.jobs.broker import Announcer
    from app.jobs.store import JobStore
    from app.jobs.streams import Published
    from app.models.catalog import Catalog
    from app.scheduler.breadcrumb import Preparing
    from app.scheduler.gpu import GpuThread
    from app.scheduler.residency import Residency

__all__ = ["Runner"]

log = get_logger("worker.runner")

T = TypeVar("T")
_RETRY_S = 0.5


class Runner:
    """Runs jobs on this worker's GPU. Called by many Dramatiq threads at once."""

    def __init__(
        self,
        worker_id: str,
        store: JobStore,
        announcer: Announcer,
        catalog: Catalog,
        residency: Residency,
        gpu: GpuThread,
        runs: Runs,
        preparing: Preparing,
    ) -> None:  # fmt: skip
        self._worker_id = worker_id
        self._store = store
        self._announcer = announcer
        self.catalog = catalog
        self._residency = residency
        self._gpu = gpu
        self._runs = runs
        self._preparing = preparing
        self._never = threading.Event()
        self.draining = False
        self.errands: dict[JobKind, Errand] = {}
        self.leaves: Callable[[], Mapping[str, str]] = dict  # gives the models that other workers are to serve, and why
        self.hand_back: Callable[[str, Unclaimed], object] | None = None  # announces what was not to be claimed here
        self.observer = Observer(Tally())
        self.steps = ChainSteps(store, preparing)

    def run(self, job_id: str, announce: int) -> None:
        """Run one job to its end, if the message is still true. Once this worker drains, keep the message and never return."""
        with self._runs.message():
            if not self.draining:
                self._run(job_id, announce)
                return
        # To return would acknowledge the message. Unacknowledged, it goes back to the front of its queue when the drain ends.
        self._never.wait()

    def _run(self, job_id: str, announce: int) -> None:
        token, leaves = secrets.token_hex(8), self.leaves()
        claim = self._insist(lambda: self._store.claim(job_id, announce, worker=self._worker_id, token=token, leaves=leaves))
        if isinstance(claim, Unclaimed):
            # A second delivery, a job that was cancelled meanwhile, or one that others have to do: ordinary.
            log.debug("message.dropped", job=job_id, reason=claim.reason)
            if self.hand_back is not None:
                self._insist(partial(self.hand_back, job_id, claim))
            return
        run = Run(claim)
        self._runs.add(run)
        self.observer.claimed(run)
        try:
            with self._store.spool.used_by(run.withdrawn):
                errand = self.errands.get(claim.kind)
                ending = errand.run(run) if errand and not self.draining else self._work(run)
                self._settle(run, ending)
            if errand:
                self._insist(lambda: errand.settled(run, ending))
        except BaseException as error:  # the actor's boundary: whatever is wrong, the job must end. A panic in Rust is no Exception.
            log.exception("job.broke", job=claim.id, error=type(error).__name__)
            self._commit_failure(run, Failure(code="internal_error", message=f"The worker failed on this job: {type(error).__name__}."))
        finally:
            self._runs.remove(run)
            self.observer.ended(run)

    def _work(self, run: Run) -> Ending:
        """Return how the run ended; whatever its request did wrong is an ending too."""
        if self.draining:
            return Withdrawn.DRAINED
        try:
            if step := self.steps.take(run):
                return step
            keep_s = keep_seconds(run.claim.request.get("keep_alive"))
            with self._residency.lease(self.catalog.get(run.claim.model), run.work_id, run.ended, keep_s) as frontend:
                run.moments.leased = time.perf_counter()
                return self._work_on(run, frontend)
        except CancelledError:  # withdrawn while it waited for its model
            return run.ended.result()
        except InferenceError as error:
            # A load that a drain broke off is no fault of the job.
            return run.ended.result() if run.ended.done() else Failed(run.work_id, error)

    def _work_on(self, run: Run, frontend: Frontend) -> Ending:
        """Hand a run over to its engine, which stays for as long as this takes, and wait for its end."""
        claim = run.claim
        published = self._insist(lambda: read_published(self._store, claim.id)) if claim.attempt > 1 else {}
        with self._preparing.naming(run.work_id):
            run.choices = [_choice(work, published.get(n)) for n, work in enumerate(works_of(claim, run.request, frontend, published))]
        run.moments.added = time.perf_counter()
        for choice in run.choices:
            if isinstance(choice.work, TextWork) and choice.work.echo and not choice.text:
                self._gpu.tell(Tokens(choice.work.id, (), choice.work.echo))
            self._gpu.add(claim.model, choice.work)
        if run.ended.done():
            # Withdrawn before there was anything to cancel.
            self._stop_work(run)
        ending = run.ended.result()
        if isinstance(ending, Failed):
            self._stop_work(run)
        return ending

    def withdraw(self, run: Run, why: Withdrawn) -> None:
        """Stop working on a run: it was cancelled, it is not ours any more, or this worker stops."""
        run.withdraw(why)
        self._stop_work(run)

    def _stop_work(self, run: Run) -> None:
        for choice in run.choices:
            if choice.finished is None:
                self._gpu.cancel(run.claim.model, choice.work.id)

    def _settle(self, run: Run, ending: Ending) -> None:
        try:
            if isinstance(ending, Withdrawn):
                self._leave(run, ending)
            else:
                self._record(run, ending)
        except CancelledError:  # withdrawn while what came of it could not be handed over
            self._leave(run, run.withdrawn_as)
        except InferenceError as error:
            self._commit_failure(run, error.as_fact())

    def _leave(self, run: Run, why: Withdrawn) -> None:
        if why is Withdrawn.LOST:
            log.info("job.withdrawn", job=run.claim.id)
        else:
            self._give_back(run)

    def _record(self, run: Run, ending: Ending) -> None:
        claim = run.claim
        if isinstance(ending, Planned):
            stands = self._insist(lambda: self.steps.record(run, ending))
            run.outcome = "planned"
            log.info("job.planned", job=claim.id, kind=claim.kind, model=claim.model, children=len(ending.plan.children), stands=stands)
            return
        made = self._insist(lambda: made_of(self._store, run, ending))
        stands = self._insist(
            lambda: self._store.commit(
                claim.id, claim.token, JobState.SUCCEEDED, output=made.output, usage=made.usage, media_type=made.media_type
            )
        )
        run.outcome = "succeeded" if stands else "lost"
        log.info("job.succeeded", job=claim.id, kind=claim.kind, model=claim.model, attempt=claim.attempt, stands=stands)

    def _commit_failure(self, run: Run, failure: Failure) -> None:
        claim = run.claim
        stands = self._insist(lambda: self._store.commit(claim.id, claim.token, JobState.FAILED, error=failure))
        run.outcome, run.error_code = ("failed", failure.code) if stands else ("lost", None)
        log.info("job.failed", job=claim.id, kind=claim.kind, model=claim.model, attempt=claim.attempt, code=failure.code)

    def _give_back(self, run: Run) -> None:
        claim = run.claim
        released = self._insist(lambda: self._store.release(claim.id, claim.token))
        if released.outcome == "requeued":
            self._insist(lambda: self._announcer.announce(claim.id, front=True))
        run.outcome = "drained"
        log.info("job.given_back", job=claim.id, outcome=released.outcome)

    def _insist(self, move: Callable[[], T]) -> T:
        """Try until Redis answers: a result that exists must not be lost to a blip."""
        while True:
            try:
                return move()
            except StoreUnavailable:
                log.warning("store.waiting")
                time.sleep(_RETRY_S)


def _choice(work: Work, published: Published | None) -> Choice:
    """Return a choice that goes on from what an earlier attempt has published of it."""
    if published is None:
        return Choice(work)
    return Choice(work, list(published.texts), list(published.logprobs), list(published.reasonings), list(published.calls))
