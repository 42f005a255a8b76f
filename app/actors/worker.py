"""The composition root of the worker process: joins broker, scheduler, engines and job store.

Start: take the home's worker lock, rescue what earlier workers held, then
consume. Stop: fetch nothing more, let running jobs finish for a while, give
the rest back uncharged. A worker that is killed instead is rescued by the next.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import dramatiq
import redis

from app.actors.awake import Awake
from app.actors.chains import STEPS_AT_ONCE, Steps
from app.actors.consumer import WorkerBroker
from app.actors.control import Control, declare_known_queues
from app.actors.counting import COUNTS_AT_ONCE
from app.actors.downloads import AT_ONCE, Downloads
from app.actors.gates import QueueGates
from app.actors.home import home_id, lock_worker
from app.actors.kinds import known_steps
from app.actors.observing import Observer
from app.actors.presence import Presence
from app.actors.runner import Runner
from app.actors.runs import Run, Runs, Withdrawn
from app.actors.sink import EventSink
from app.engines.registry import serves
from app.errors import InvalidSetting
from app.jobs import keys, reconcile, rescue
from app.jobs.broker import Announcer, declare_actor
from app.jobs.connection import connect
from app.jobs.journal import sync_journal
from app.jobs.record import JobKind, Lane
from app.jobs.spool import Spool
from app.jobs.store import JobStore
from app.jobs.tally import Tally
from app.log import get_logger
from app.machine import detect, wakefulness
from app.models.catalog import load_catalog
from app.scheduler.books import MemoryBooks
from app.scheduler.breadcrumb import Breadcrumb, Preparing, slice_of
from app.scheduler.budget import ask_device, budget_bytes, watch_pressure
from app.scheduler.circuit import Circuits
from app.scheduler.conductor import Conductor
from app.scheduler.gpu import GpuThread
from app.scheduler.load_deaths import LoadDeaths
from app.scheduler.lookout import DEFAULT_SLOTS, Lookout
from app.scheduler.needs import Needs
from app.scheduler.peaks import Peaks
from app.scheduler.power import PowerWatch
from app.scheduler.residency import Residency
from app.scheduler.swaps import Swaps
from app.scheduler.wishing import Wishing
from app.tracing import open_traces

if TYPE_CHECKING:
    from app.models.catalog import Catalog
    from app.settings import Settings

__all__ = ["InferenceWorker"]

log = get_logger("worker")

_SPARE_THREADS = 8
_MOST_THREADS = 1024
_IDLE_TIMEOUT_MS = 30_000
_AT_ONCE = {keys.DOWNLOADS: AT_ONCE, keys.CHAINS: STEPS_AT_ONCE, keys.COUNTS: COUNTS_AT_ONCE}  # queues that need no model
_SETTLE_S = 5.0  # what a drain gives to runs that were told to end


class InferenceWorker:
    """One worker. Build it, :meth:`start` it, :meth:`drain` it.

    Args:
        settings: Its own.
        steps: Who knows the steps of kinds that are done in several; none: no kind is.
    """

    def __init__(self, settings: Settings, steps: Mapping[JobKind, Steps] | None = None) -> None:
        self._settings = settings
        self._lock = lock_worker(settings.run_dir)
        self.id = f"{home_id(settings.run_dir)}-{secrets.token_hex(4)}"
        self._catalog = load_catalog(settings)
        self._store = JobStore(connect(settings), Spool(settings.spool_dir))
        self._store.check_schema()
        own = rescue.broker_of(self.id)
        self._broker = WorkerBroker(settings, broker_id=own, limit=self._first_limit, acknowledged=self._acknowledged)
        self._announcer = Announcer(self._broker, self._store)
        self._runs, self._tally = Runs(), Tally()
        self._observer = Observer(self._tally, open_traces(settings, "worker"))
        self._presence = Presence(self._store, self.id, self._tally)
        self._crumbs = [Breadcrumb(settings.run_dir / name) for name in ("worker.crumb", "worker.preparing.crumb")]
        self._deaths = LoadDeaths(settings.run_dir / "load-deaths.json")
        self._preparing = Preparing(self._crumbs[1])
        self._sink = EventSink(self._store, self._runs, self._lose, self._observer)
        machine = detect()
        budget = budget_bytes(settings.memory_budget, machine, ask_device())
        self._gpu = GpuThread(self._sink.emit, self._forget_model, self._crumbs[0], MemoryBooks(budget), self._poke)
        self._circuits = Circuits()
        self._power = PowerWatch(settings, self._poke)
        self._awake = Awake(wakefulness() if settings.keep_awake else None)
        self._residency = Residency(self._gpu, settings, self._preparing, self._deaths, self._circuits, self._poke, Swaps(self._tally))
        self._runner = Runner(self.id, self._store, self._announcer, self._catalog, self._residency, self._gpu, self._runs, self._preparing)
        told = (self._presence.report_download, self._has_arrived, self._presence.report_rate)
        self._downloads = Downloads(settings, self._store, self._announcer, self._current_catalog, *told, self._tally)
        gates = QueueGates(self._broker, self._store, self._current_catalog)
        lookout = Lookout(
            settings=settings,
            catalog=self._current_catalog,
            gates=gates,
            residency=self._residency,
            gpu=self._gpu,
            needs=Needs(Peaks(settings.run_dir / "peaks.json"), cpu=not machine.accelerated),
            budget_bytes=budget,
            circuits=self._circuits,
            deaths=self._deaths,
            pressure=watch_pressure(settings.memory_watermark, settings.memory_for_others, machine),
            batch_waits=lambda: self._power.batch_waits,
            must_fetch=self._downloads.must_fetch,
            wishing=Wishing(gates),
        )
        self._conductor = Conductor(lookout, self._residency, gates, self._presence, self._hand_back)
        self._introduce(steps or {})
        declare_actor(self._broker, self._runner.run)
        self._dramatiq = dramatiq.Worker(self._broker, worker_timeout=_IDLE_TIMEOUT_MS, worker_threads=_threads_for(self._catalog))
        self._strays = rescue.Strays(self._store, self._announcer, self.id, self._runs.claims, self._tally)
        self._control = Control(connect(settings, retries=0), self._broker, self._cancel, self._arrived, self._poke, self._chores())

    def _introduce(self, steps: Mapping[JobKind, Steps]) -> None:
        """Tell parts of others that are built after them."""
        self._store.moves.announce = self._announcer.announce
        self._runner.observer = self._observer
        self._runner.errands[JobKind.DOWNLOAD] = self._downloads
        known = known_steps(self._settings, self._store.spool, self._current_catalog, self._residency, self._gpu, self._preparing)
        self._runner.steps.kinds |= known | dict(steps)

    def start(self) -> None:
        """Rescue, then consume."""
        self._presence.beat()
        declare_known_queues(self._store.client, self._broker)
        stepped = [name for crumb in self._crumbs for name in crumb.read()]
        self._deaths.record(stepped)
        rescue.rescue_home(self._store, self._broker, self._announcer, self.id, dict(map(slice_of, stepped)), self._tally)
        for crumb in self._crumbs:
            crumb.write(())
        self._presence.beat()  # what was counted just now: a worker that crashes again and again may never come to its next beat
        self._presence.start()
        self._gpu.start()
        self._sink.start()
        self._broker.emit_after("process_boot")
        self._dramatiq.start()
        self._control.start()
        self._downloads.start()
        self._power.start()
        self._conductor.start()
        log.info("worker.started", worker=self.id, pid=os.getpid())

    def read_catalog(self) -> None:
        """Read the catalog again; what is loaded stays as it is."""
        try:
            self._catalog = self._runner.catalog = load_catalog(self._settings)
        except InvalidSetting as error:
            log.error("catalog.invalid", reason=error.message)  # noqa: TRY400 - the sentence says it all
        else:
            log.info("catalog.read", models=len(self._catalog))
            self._circuits.close_all()
            self._poke()

    def _current_catalog(self) -> Catalog:
        return self._catalog

    def drain(self) -> None:
        """Stop in order. Returns when every job is committed or given back."""
        log.info("worker.draining", running=len(self._runs.all()))
        self._runner.draining = True
        self._power.stop()
        self._conductor.stop()
        self._broker.close_consumers()
        for consumer in list(self._dramatiq.consumers.values()):
            consumer.stop()
        self._downloads.stop()
        for run in self._runs.all():
            if run.claim.kind is JobKind.DOWNLOAD:  # minutes or hours: the next worker goes on where it was
                self._runner.withdraw(run, Withdrawn.DRAINED)
        if not self._runs.wait_until_idle(self._settings.drain_timeout.total_seconds()):
            for run in self._runs.all():
                self._runner.withdraw(run, Withdrawn.DRAINED)
        self._gpu.stop()  # breaks off a load too, so that those who wait for it can give their jobs back
        if not self._runs.wait_until_idle(_SETTLE_S):
            log.warning("worker.jobs_left", detail="The next worker of this home takes them back.")
        self._control.stop()
        self._awake.close()
        self._sink.stop()
        try:
            self._broker.recover(self._broker.broker_id)
        except redis.RedisError:
            log.warning("worker.messages_left", detail="The next worker of this home takes them back.")
        self._presence.leave()
        self._observer.close()
        for crumb in self._crumbs:
            crumb.write(())
        self._deaths.forgive_all()
        self._lock.close()
        log.info("worker.stopped", worker=self.id)

    def _first_limit(self, queue: str) -> int:
        """Return how wide a queue's gate is: the conductor opens those of models, all others are open."""
        if queue in _AT_ONCE:
            return _AT_ONCE[queue]
        # Suspects run one at a time. A queue of a model that the catalog has lost is open, so that its jobs are told.
        return 0 if any(queue == keys.queue_name(spec.id, lane) for spec in self._catalog for lane in Lane) else 1

    def _acknowledged(self, left: int) -> None:
        self._conductor.acknowledged(left)

    def _hand_back(self, model: str) -> None:
        for run in self._runs.all():
            if run.claim.model == model and not any(choice.begun for choice in run.choices):
                self._runner.withdraw(run, Withdrawn.DRAINED)

    def _poke(self) -> None:
        self._conductor.poke()

    def _arrived(self, queue: str) -> None:
        if not self._broker.limit_of(queue):
            self._conductor.poke()

    def _chores(self) -> list[tuple[float, Callable[[], object]]]:
        return [
            (0.5, self._store.expire_deadlines),
            (2.0, self._find_lost_runs),
            (2.0, lambda: self._awake.see(running=bool(self._runs.all()))),
            (1.0, partial(sync_journal, self._settings.redis_dir)),
            (1.0, partial(reconcile.announce_pending, self._store, self._announcer)),
            (5.0, self._broker.reap),
            (5.0, self._broker.adopt_orphans),
            (10.0, partial(rescue.rescue_silent, self._store, self._announcer, self.id, self._tally)),
            (3.0, self._strays.rescue),
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

    def _has_arrived(self, model: str) -> None:
        """Take note that a model's files are here now, and let its jobs begin."""
        if model not in self._catalog.models:
            self.read_catalog()
        self._circuits.close(model)
        self._poke()


def _threads_for(catalog: Catalog) -> int:
    """Return how many messages may be waited on at once. A thread that waits costs next to nothing; one too few starves a model."""
    wanted = sum(2 * (spec.slots or DEFAULT_SLOTS) for spec in catalog if serves(spec)) + sum(_AT_ONCE.values())
    return min(_MOST_THREADS, wanted + _SPARE_THREADS)
