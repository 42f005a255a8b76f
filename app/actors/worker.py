"""The composition root of the worker process: joins broker, scheduler, engines and job store.

Start: take the home's worker lock, rescue what earlier workers held, then
consume. Stop: fetch nothing more, let running jobs finish for a while, give
the rest back uncharged. A worker that is killed instead is rescued by the next.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import dramatiq
import redis

from app.actors.awake import Awake
from app.actors.chains import Steps
from app.actors.consumer import WorkerBroker
from app.actors.control import Control, declare_known_queues
from app.actors.downloads import Downloads, Told
from app.actors.gates import QueueGates
from app.actors.home import home_id, lock_worker
from app.actors.kinds import known_steps
from app.actors.observing import Observer
from app.actors.peers import StorePeers
from app.actors.presence import Presence
from app.actors.runner import Runner
from app.actors.runs import Run, Runs, Withdrawn
from app.actors.sharing import SharedQueues, threads_for
from app.actors.sink import EventSink
from app.actors.withdrawals import Withdrawals
from app.errors import InvalidSetting
from app.jobs import reconcile, rescue
from app.jobs.broker import Announcer, declare_actor
from app.jobs.connection import connect
from app.jobs.journal import sync_journal
from app.jobs.loads import Loads
from app.jobs.machines import forget_machines
from app.jobs.record import JobKind
from app.jobs.remote_spool import open_spool
from app.jobs.store import JobStore
from app.jobs.tally import Tally
from app.jobs.workers import lives_elsewhere
from app.log import get_logger
from app.machine import detect, wakefulness
from app.models.catalog import load_catalog
from app.scheduler.books import MemoryBooks
from app.scheduler.breadcrumb import Breadcrumb, Preparing, slice_of
from app.scheduler.budget import ask_device, budget_bytes, watch_pressure
from app.scheduler.circuit import Circuits
from app.scheduler.conductor import Conductor
from app.scheduler.elsewhere import Elsewhere
from app.scheduler.gpu import GpuThread
from app.scheduler.load_deaths import LoadDeaths
from app.scheduler.lookout import Lookout
from app.scheduler.needs import Needs
from app.scheduler.others import Peer
from app.scheduler.peaks import Peaks
from app.scheduler.power import PowerWatch
from app.scheduler.residency import Residency
from app.scheduler.swaps import Swaps
from app.scheduler.wishing import Wishing
from app.tracing import open_traces

if TYPE_CHECKING:
    from app.machine import Machine
    from app.models.catalog import Catalog
    from app.settings import Settings

__all__ = ["InferenceWorker"]

log = get_logger("worker")

_IDLE_TIMEOUT_MS = 30_000
_SETTLE_S = 5.0  # what a drain gives to runs that were told to end


class InferenceWorker:
    """One worker. Build it, :meth:`start` it, :meth:`drain` it.

    Args:
        settings: Its own.
        steps: Who knows the steps of kinds that are done in several; none: no kind is.
    """

    def __init__(self, settings: Settings, steps: Mapping[JobKind, Steps] | None = None) -> None:
        self._settings = settings
        self.refusal: str | None = None  # why the API of the machine that has the jobs will not serve this worker any more
        self._lock = lock_worker(settings.run_dir)
        self._catalog, self._remote = load_catalog(settings), settings.api_url is not None
        self._store = JobStore(connect(settings), open_spool(settings, self._end_refused))
        self._store.check_schema()
        self._home = home_id(settings.run_dir, taken=partial(lives_elsewhere, self._store.client))
        self.id = f"{self._home}-{secrets.token_hex(4)}"
        own = rescue.broker_of(self.id)
        self._shared = SharedQueues(self._home, remote=self._remote, catalog=self._current_catalog)
        self._broker = WorkerBroker(settings, broker_id=own, limit=self._shared.first_limit, acknowledged=self._acknowledged)
        self._announcer = Announcer(self._broker, self._store)
        self._runs, self._tally = Runs(), Tally()
        self._observer = Observer(self._tally, open_traces(settings, "worker"))
        loads = Loads(self._store, self.id)
        self._presence = Presence(self._store, self.id, self._tally, loads, remote=self._remote)
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
        self._withdrawals = Withdrawals(self._store, self._runs, self._runner)
        self._conductor = self._conduct(machine, budget, loads)
        self._introduce(steps or {})
        declare_actor(self._broker, self._runner.run)
        self._dramatiq = dramatiq.Worker(self._broker, worker_timeout=_IDLE_TIMEOUT_MS, worker_threads=threads_for(self._catalog))
        self._strays = rescue.Strays(self._store, self._announcer, self.id, self._runs.claims, self._tally)
        heard = (self._withdrawals.cancel, self._arrived, self._poke, self._heard)
        self._control = Control(connect(settings, retries=0), self._broker, *heard, self._chores())

    def _conduct(self, machine: Machine, budget: int, loads: Loads) -> Conductor:
        """Make the parts that decide which models are here, and see to their files."""
        peers = StorePeers(self._store, self.id, loads, self._presence, lambda lives: self._shared.see_main(self._broker, lives=lives))
        self._elsewhere = Elsewhere(peers, Peer(self.id, self._remote, budget))
        told = Told(self._presence.report_download, self._has_arrived, self._presence.report_rate)
        self._downloads = Downloads(
            self._settings, self._store, self._announcer, self._current_catalog, told, self._tally,
            leaves=lambda: self._elsewhere.unfit, home=self._home if self._remote else None,
        )  # fmt: skip
        gates = QueueGates(self._broker, self._store, self._current_catalog)
        lookout = Lookout(
            settings=self._settings,
            catalog=self._current_catalog,
            gates=gates,
            residency=self._residency,
            gpu=self._gpu,
            needs=Needs(Peaks(self._settings.run_dir / "peaks.json"), cpu=not machine.accelerated),
            budget_bytes=budget,
            circuits=self._circuits,
            deaths=self._deaths,
            pressure=watch_pressure(self._settings.memory_watermark, self._settings.memory_for_others, machine),
            batch_waits=lambda: self._power.batch_waits,
            can_fetch=self._downloads.can_fetch,
            fetch=self._downloads.fetch,
            wishing=Wishing(gates),
            elsewhere=self._elsewhere,
        )
        return Conductor(lookout, self._residency, gates, self._presence, self._withdrawals.hand_back)

    def _introduce(self, steps: Mapping[JobKind, Steps]) -> None:
        """Tell parts of others that are built after them."""
        self._store.moves.announce = self._announcer.announce
        self._runner.observer = self._observer
        self._runner.errands[JobKind.DOWNLOAD] = self._downloads
        self._runner.leaves = lambda: self._elsewhere.unfit
        self._runner.hand_back = partial(self._shared.hand_back, self._broker, self._announcer)
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
            self._elsewhere.changed()
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

    def _end_refused(self, reason: str) -> None:
        """Have this process end: it would take jobs with media and hold them for ever, while others could do them."""
        if self.refusal is None:
            self.refusal = reason
            log.error("worker.refused", reason=reason)
            os.kill(os.getpid(), signal.SIGTERM)

    def _acknowledged(self, left: int) -> None:
        self._conductor.acknowledged(left)

    def _poke(self) -> None:
        self._conductor.poke()

    def _heard(self, worker_id: str) -> None:
        """Look at another worker that says something new of itself."""
        if worker_id != self.id:
            self._elsewhere.news()
            self._poke()

    def _arrived(self, queue: str) -> None:
        if not self._broker.limit_of(queue):
            self._conductor.poke()

    def _chores(self) -> list[tuple[float, Callable[[], object]]]:
        return [
            (0.5, self._store.expire_deadlines),
            (0.5, self._resume),
            (2.0, self._withdrawals.find),
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
            (300.0, partial(forget_machines, self._store)),
        ]

    def _resume(self) -> None:
        """Fetch again from queues that were left to others for a while."""
        if self._broker.resume():
            self._poke()

    def _lose(self, run: Run) -> None:
        self._withdrawals.lose(run)

    def _forget_model(self, model: str) -> None:
        self._residency.forget(model)

    def _has_arrived(self, model: str) -> None:
        """Take note that a model's files are here now, and let its jobs begin."""
        if model not in self._catalog.models:
            self.read_catalog()
        self._circuits.close(model)
        self._elsewhere.changed()
        self._poke()
