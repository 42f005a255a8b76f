"""Downloads in the worker: jobs of a queue of their own, and the models that waiting jobs lack.

A job whose model is not on this machine is not fetched from its queue: it costs no thread while it waits. Whatever put
it there, this worker sees it, submits the model's download (of which there is one at a time, whoever asks), and says in
the model's state how far that is. When the files are here the queue opens; when they cannot come, those who wait fail
with the download's own error. A worker that stops or dies leaves the download to the next one, which goes on with it.

Where the jobs are on another machine, the downloads of this one wait in a queue that this worker alone fetches from: the
files are wanted here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import redis

from app.actors.runs import Downloaded, Ending, Run, Withdrawn
from app.engines.protocols import Failed
from app.errors import Failure, InferenceError, JobNotFound, StoreUnavailable
from app.jobs.decoding import ModelState
from app.jobs.record import JobState, Lane, Progress
from app.jobs.series import DOWNLOADED
from app.jobs.submission import download_job
from app.log import get_logger
from app.models.adopt import adopt
from app.models.download import Download, DownloadProgress
from app.models.download_errors import DownloadCanceled
from app.models.hub import hub_offline, locate

if TYPE_CHECKING:
    from app.jobs.broker import Announcer
    from app.jobs.store import JobStore
    from app.jobs.tally import Tally
    from app.models.catalog import Catalog
    from app.models.spec import ModelSpec
    from app.settings import Settings

__all__ = ["AT_ONCE", "Downloads", "Told"]

log = get_logger("worker.downloads")

AT_ONCE = 2
_LOOK_EVERY_S = 2.0
_TELL_EVERY_S = 1.0


class Told(NamedTuple):
    """Who hears of downloads. None of them may wait."""

    report: Callable[[str, ModelState | None], None]  # a model's state while its files come
    arrived: Callable[[str], None]  # which model's files are here now
    rate: Callable[[str, float | None], None]  # how many bytes of a model come in a second, None at the end


class Downloads:
    """Does the jobs of kind ``download``, and makes those that are missing. Thread-safe.

    Args:
        settings: Say where models are.
        store: Of the jobs.
        announcer: For the downloads that are submitted here.
        catalog: Gives the catalog as it is.
        told: Hear of them.
        tally: Counts them.
        leaves: Gives the models that other workers serve and this one cannot: nobody is refused one of those.
        home: Of this worker, where the jobs are on another machine: the files it lacks are wanted here, and not there.
    """

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        announcer: Announcer,
        catalog: Callable[[], Catalog],
        told: Told,
        tally: Tally,
        leaves: Callable[[], Collection[str]],
        home: str | None,
    ) -> None:
        self._settings = settings
        self._leaves = leaves
        self._home = home
        self._store = store
        self._announcer = announcer
        self._catalog = catalog
        self._report, self._arrived, self._rate = told
        self._tally = tally
        self._wanted: frozenset[str] = frozenset()  # models whose files are waited for
        self._announced: set[str] = set()  # models whose download was submitted and is not over
        self._asked = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._watch, name="downloads", daemon=True)

    def start(self) -> None:
        """Begin to look for jobs whose models are missing."""
        self._thread.start()

    def stop(self) -> None:
        """Submit nothing more."""
        self._stopped = True
        self._asked.set()

    def can_fetch(self, spec: ModelSpec) -> bool:
        """Return whether a model's files are not here, and may be downloaded."""
        return spec.directory is None and not hub_offline() and locate(spec, self._settings) is None

    def fetch(self, models: frozenset[str]) -> None:
        """See to it that the files of *models* come here, and of no others: jobs wait for them, and nobody else is to serve those."""
        self._wanted = models
        if models:
            self._asked.set()

    def run(self, run: Run) -> Ending:
        """Download what the job names, telling how far it is, until it is here, cannot come, or the run is ended."""
        model, repo = run.claim.model, str(run.claim.request["repo"])
        flight = _Flight(run, self._store, self._report, self._rate, self._tally)
        download = Download(repo, self._settings, flight.tell)
        run.ended.add_done_callback(lambda _: download.cancel())
        began = time.monotonic()
        try:
            folder = download.run()
            self._adopt(model, repo, folder)
        except InferenceError as error:
            return run.ended.result() if run.ended.done() else Failed(run.work_id, error)
        finally:
            self._report(model, None)
            self._rate(model, None)
        return Downloaded(model, repo, download.progress.total_bytes, round(time.monotonic() - began, 3), str(folder))

    def settled(self, run: Run, ending: Ending) -> None:
        """Let those go on who waited for the files, or tell them why there are none; harmless when repeated.

        The record has ended before that: whoever comes now begins a download anew, and is not forgotten.
        """
        model, repo = run.claim.model, str(run.claim.request["repo"])
        match ending:
            case Downloaded():
                log.info("download.complete", message="Download complete. Loading model...", model=model, bytes=ending.bytes)
                self._arrived(model)
            case Failed():
                log.warning("download.failed", model=model, repo=repo, reason=ending.error.message)
                self._refuse(model, ending.error.as_fact())
            case Withdrawn.LOST if self._is_canceled(run.claim.id):
                log.info("download.canceled", model=model, repo=repo)
                self._refuse(model, DownloadCanceled(repo).as_fact())

    def _is_canceled(self, job_id: str) -> bool:
        try:
            return self._store.get(job_id).state is JobState.CANCELED
        except JobNotFound:
            return False

    def _refuse(self, model: str, failure: Failure) -> None:
        if model in self._leaves():
            return
        before = self._store.now()
        while waiting := self._store.waiting(model, before=before):  # a child that is refused may let the next one in
            for job_id in waiting:
                if self._store.refuse(job_id, failure):
                    log.info("job.failed", job=job_id, model=model, code=failure.code)

    def _adopt(self, model: str, repo: str, folder: Path) -> None:
        if model not in self._catalog().models:
            adopt(model, repo, folder, self._settings)

    def _watch(self) -> None:
        while not self._stopped:
            self._asked.wait(_LOOK_EVERY_S)
            self._asked.clear()
            if not self._stopped:
                try:
                    self._submit_missing()
                except (redis.RedisError, StoreUnavailable) as error:
                    log.warning("downloads.waiting", error=type(error).__name__)

    def _submit_missing(self) -> None:
        """Submit a download for each model that a queued job wants and that is not here."""
        asked = [spec for spec in self._catalog() if spec.id in self._wanted]
        missing = [spec for spec in asked if self.can_fetch(spec) and self._store.waiting(spec.id)]
        for spec in missing:
            new = download_job(spec.id, spec.repo, lane=Lane.INTERACTIVE, home=self._home)
            # Beyond the limit too: what waits is accepted, and this is what it waits for.
            submitted = self._store.submit(new, max_queued=self._settings.max_queued + len(missing))
            if submitted.created:
                log.info("download.wanted", message=f"Model not found: {spec.repo}", model=spec.id, job=submitted.job_id)
                self._report(spec.id, ModelState(state="downloading", detail=f"{spec.id} is not on this machine; its download comes next."))
                self._announcer.announce(submitted.job_id)
        for gone in self._announced - {spec.id for spec in missing}:  # its download was cancelled before it began
            self._report(gone, None)
        self._announced = {spec.id for spec in missing}


class _Flight:
    """What is told of one download that runs: to its job, and to everybody who asks for the model.

    Args:
        run: The job's.
        store: Where its record is.
        report: Told the model's state.
        rate: Told how many bytes come in a second.
        tally: Counts them.
    """

    def __init__(
        self,
        run: Run,
        store: JobStore,
        report: Callable[[str, ModelState | None], None],
        rate: Callable[[str, float | None], None],
        tally: Tally,
    ) -> None:
        self._run = run
        self._store = store
        self._report = report
        self._rate = rate
        self._tally = tally
        self._told_s = 0.0
        self._done_bytes: int | None = None  # what was here before is nothing that came

    def tell(self, now: DownloadProgress) -> None:
        """Count what came, and publish how far it is, about once a second."""
        model = self._run.claim.model
        if self._done_bytes is not None and now.done_bytes > self._done_bytes:
            self._tally.count(DOWNLOADED, model, by=now.done_bytes - self._done_bytes)
        self._done_bytes = now.done_bytes
        self._rate(model, now.rate_bytes_per_s or 0.0)
        first, at_end = not self._told_s, now.done_bytes == now.total_bytes
        if not first and not at_end and time.monotonic() - self._told_s < _TELL_EVERY_S:
            return
        self._told_s = time.monotonic()
        claim = self._run.claim
        if first:
            log.info(
                "download.started", message=f"Downloading... ({now.total_bytes / 1e9:.1f} GB)", model=claim.model, bytes=now.total_bytes
            )
        self._report(claim.model, ModelState(state="downloading", detail=f"{claim.model} is being downloaded: {now}."))
        progress = Progress(
            done=now.done_bytes,
            total=now.total_bytes,
            unit="bytes",
            rate_per_s=None if now.rate_bytes_per_s is None else round(now.rate_bytes_per_s),
            eta_s=None if now.eta_s is None else round(now.eta_s, 1),
        )
        try:
            if self._store.publish_progress([(claim.id, claim.token, progress)]):
                self._run.end(Withdrawn.LOST)
        except StoreUnavailable:
            log.warning("download.untold")  # the bytes come all the same
