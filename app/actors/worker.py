"""The composition root of the worker process: joins broker, scheduler, engines and job store.

Start: take the home's worker lock, rescue what earlier workers held, then
consume. Stop: fetch nothing more, let running jobs finish for a while, give
the rest back uncharged. A worker that is killed instead is rescued by the next.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import dramatiq
import redis

from app.actors.consumer import WorkerBroker
from app.actors.control import Control, declare_known_queues
from app.actors.presence import Presence
from app.actors.runner import Runner
from app.actors.runs import Run, Runs, Withdrawn
from app.actors.sink import EventSink
from app.engines.registry import serves
from app.errors import InferenceError, InvalidSetting, StoreUnavailable
from app.jobs import keys, reconcile, rescue
from app.jobs.broker import Announcer, declare_actor
from app.jobs.connection import connect
from app.jobs.record import Lane
from app.jobs.spool import Spool
from app.jobs.store import JobStore
from app.log import get_logger
from app.models.catalog import load_catalog
from app.scheduler.breadcrumb import Breadcrumb
from app.scheduler.gpu import GpuThread
from app.scheduler.residency import Residency

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["InferenceWorker"]

log = get_logger("worker")

_THREADS = 96
_DEFAULT_SLOTS = 16
_SPARE_SLOTS = 4  # batch work leaves so many slots of a model to people who wait
_IDLE_TIMEOUT_MS = 30_000


class InferenceWorker:
    """One worker. Build it, :meth:`start` it, :meth:`drain` it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = _lock_worker(settings.run_dir)
        self.id = f"{_home_id(settings.run_dir)}-{secrets.token_hex(4)}"
        self._catalog = load_catalog(settings)
        self._store = JobStore(connect(settings), Spool(settings.spool_dir))
        self._store.check_schema()
        self._broker = WorkerBroker(settings, broker_id=rescue.broker_of(self.id), prefetch_of=self._prefetch_of)
        self._announcer = Announcer(self._broker, self._store)
        self._presence = Presence(self._store, self.id)
        self._runs = Runs()
        self._breadcrumb = Breadcrumb(settings.run_dir / "worker.crumb")
        self._sink = EventSink(self._store, self._runs, self._lose)
        self._gpu = GpuThread(self._sink.emit, self._forget_model, self._breadcrumb)
        self._residency = Residency(self._gpu, settings, self._presence.report)
        self._runner = Runner(self.id, self._store, self._announcer, self._catalog, self._residency, self._gpu, self._runs)
        declare_actor(self._broker, self._runner.run)
        self._dramatiq = dramatiq.Worker(self._broker, worker_timeout=_IDLE_TIMEOUT_MS, worker_threads=_THREADS)
        self._control = Control(connect(settings, retries=0), self._broker, self._cancel, self._chores())

    def start(self) -> None:
        """Rescue, then consume."""
        self._presence.beat()
        declare_known_queues(self._store.client, self._broker)
        rescue.rescue_home(self._store, self._broker, self._announcer, self.id, self._breadcrumb.read())
        self._breadcrumb.write(())
        self._gpu.start()
        self._sink.start()
        self._broker.emit_after("process_boot")
        self._dramatiq.start()
        self._control.start()
        threading.Thread(target=self._load_residents, name="preload", daemon=True).start()
        log.info("worker.started", worker=self.id, pid=os.getpid())

    def drain(self) -> None:
        """Stop in order. Returns when every job is committed or given back."""
        log.info("worker.draining", running=len(self._runs.all()))
        self._runner.draining = True
        self._broker.close_consumers()
        for consumer in self._dramatiq.consumers.values():
            consumer.stop()
        if not self._runs.wait_until_idle(self._settings.drain_timeout.total_seconds()):
            for run in self._runs.all():
                self._runner.withdraw(run, Withdrawn.DRAINED)
            self._runs.wait_until_idle(5.0)
        self._control.stop()
        self._gpu.stop()
        self._sink.stop()
        try:
            self._broker.recover(self._broker.broker_id)
        except (redis.ConnectionError, redis.TimeoutError):
            log.warning("worker.messages_left", detail="The next worker of this home takes them back.")
        self._presence.leave()
        self._breadcrumb.close()
        self._lock.close()
        log.info("worker.stopped", worker=self.id)

    def _prefetch_of(self, queue: str) -> int:
        """Return how many messages of a queue may be in this process: its model's slots."""
        if queue == keys.QUARANTINE:
            return 1  # suspects run one at a time
        for spec in self._catalog:
            slots = spec.slots or _DEFAULT_SLOTS
            if queue == keys.queue_name(spec.id, Lane.INTERACTIVE):
                return slots
            if queue == keys.queue_name(spec.id, Lane.BATCH):
                return max(1, slots - _SPARE_SLOTS)
        return _DEFAULT_SLOTS

    def _chores(self) -> list[tuple[float, Callable[[], object]]]:
        return [
            (5.0, self._presence.beat),
            (2.0, self._find_lost_runs),
            (1.0, partial(reconcile.announce_pending, self._store, self._announcer)),
            (5.0, self._broker.reap),
            (5.0, self._broker.adopt_orphans),
            (10.0, partial(rescue.rescue_silent, self._store, self._announcer, self.id)),
            (5.0, partial(reconcile.expire, self._store, self._settings)),
            (60.0, partial(reconcile.announce_lost, self._store, self._broker, self._announcer)),
            (300.0, partial(reconcile.sweep_spool, self._store)),
        ]

    def _find_lost_runs(self) -> None:
        """Notice cancellations whose publication was missed."""
        runs = self._runs.all()
        if runs:
            ours = self._store.still_running([(run.claim.id, run.claim.token) for run in runs])
            for run in runs:
                # A run that has ended is being committed: its record may well be terminal already.
                if run.claim.id not in ours and not run.ended.done():
                    self._lose(run)

    def _cancel(self, job_id: str) -> None:
        for run in self._runs.of_job(job_id):
            self._lose(run)

    def _lose(self, run: Run) -> None:
        self._runner.withdraw(run, Withdrawn.LOST)

    def _forget_model(self, model: str) -> None:
        self._residency.forget(model)

    def _load_residents(self) -> None:
        """Load what the profile wants resident at all times, one after the other."""
        for model in dict.fromkeys(self._catalog.roles.values()):
            spec = self._catalog.get(model)
            if spec.residency == "always" and serves(spec):
                try:
                    self._residency.acquire(spec, wanted_by="")
                except (InferenceError, StoreUnavailable) as error:
                    log.warning("model.not_preloaded", model=model, reason=error.message)


def _lock_worker(run_dir: Path) -> IO[str]:
    """Take the home's worker lock, which is held until the process ends.

    Raises:
        InvalidSetting: Another worker of this home runs.
    """
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = (run_dir / "worker.lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        text = f"another worker of this home runs (pid {file.read().strip() or 'unknown'})"
        file.close()
        raise InvalidSetting(text, param="home") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _home_id(run_dir: Path) -> str:
    """Return the home's name among workers: random, kept in the home, the same after a move of the folder."""
    file = run_dir / "home-id"
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        name = secrets.token_hex(5)
        file.write_text(name)
        return name
