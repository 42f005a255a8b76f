"""The one thread that loads, steps and frees every engine.

MLX streams and unevaluated arrays belong to a thread, and one evaluation
cannot be interrupted. So everything that touches MLX happens here, in bounded
slices: each round gives every engine with work one slice, the shortest by
measure first, so that an embedding does not wait for a long prompt. A load is
a sequence of slices too, one load at a time, so resident models go on
answering meanwhile. While somebody waits for the first of an answer, engines
and loads for which nobody waits are left out of some rounds.

Other threads only leave commands; they are carried out between slices. What
engines produce goes to a callable that must not block.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from app.engines import device
from app.engines.protocols import Conclusion, Event, Failed, Frontend, KeepsRequests, Prefilled, Work
from app.errors import EngineFailed, InferenceError, ModelLoadFailed
from app.log import get_logger
from app.scheduler.books import MemoryBooks, Need
from app.scheduler.breadcrumb import Breadcrumb, load_name
from app.scheduler.stepping import EngineState, LoadFacts, PendingLoad, SteppedEngine, failure_of, gives_way

__all__ = ["GpuThread"]

log = get_logger("worker.gpu")

_SMOOTHING = 0.2  # weight of the newest slice in an engine's mean


class GpuThread:
    """Runs engines. Start it once; :meth:`stop` frees everything.

    Args:
        emit: Receives every event, on the GPU thread; must not block.
        lost: Receives the id of a model whose engine was dropped because it failed as a whole.
        breadcrumb: Names the work of each slice before it.
        books: Of memory; unset: without a budget.
        lacks: Called when an engine begins or ends to lack memory; must not block.
    """

    def __init__(
        self,
        emit: Callable[[Event], None],
        lost: Callable[[str], None],
        breadcrumb: Breadcrumb,
        books: MemoryBooks | None = None,
        lacks: Callable[[], None] = lambda: None,
    ) -> None:
        self._emit = emit
        self._lost = lost
        self._breadcrumb = breadcrumb
        self._books = books or MemoryBooks()
        self._lacks = lacks
        self._states: dict[str, EngineState] = {}
        self._commands: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._residents: dict[str, SteppedEngine] = {}
        self._loads: deque[PendingLoad] = deque()
        self._stopping = False
        self._ended = False
        self.leaving: frozenset[str] = frozenset()  # models that others wait to take the place of: the conductor says so
        self._thread = threading.Thread(target=self._run, name="gpu")

    def start(self) -> None:
        """Begin to run engines."""
        self._thread.start()

    def stop(self) -> None:
        """Free every engine and end the thread. Work that is left gets no event."""
        self._order(self._begin_stop)
        self._thread.join()

    def states(self) -> Mapping[str, EngineState]:
        """Return what each engine in memory holds and lacks."""
        return dict(self._states)

    def load(
        self, model: str, frontend: Frontend, wanted_by: str, need: Need | None = None, asked: Callable[[], bool] = lambda: True
    ) -> Future[LoadFacts]:
        """Load a model after those asked for before it.

        Args:
            model: Its id.
            frontend: The half that is ready.
            wanted_by: Work id that the load is for.
            need: What it is expected to take.
            asked: Says, at each slice, whether somebody waits for it; must be quick.

        Returns:
            Its cost, or :class:`ModelLoadFailed`; cancelled when the thread stops before.
        """
        load = PendingLoad(model, frontend, wanted_by, need or Need(), Future(), asked)
        if not self._order(lambda: self._loads.append(load)):
            load.done.cancel()
        return load.done

    def unload(self, model: str) -> Future[int]:
        """Free a model's engine; the future has the bytes that came free, 0 where it was not resident."""
        done: Future[int] = Future()
        self._order(lambda: done.set_result(self._unload(model)))
        return done

    def tell(self, event: Event) -> None:
        """Emit what is known of work before it is added, so before anything that comes of it."""
        self._emit(event)

    def add(self, model: str, work: Work) -> None:
        """Give work to a resident model. A model that is gone answers with :class:`Failed`."""
        self._order(lambda: self._add(model, work))

    def cancel(self, model: str, work_id: str) -> None:
        """Forget work before the next slice."""
        self._order(lambda: self._cancel(model, work_id))

    def _order(self, command: Callable[[], None]) -> bool:
        """Leave a command; return whether anybody is there to carry it out."""
        with self._wake:
            if not self._ended:
                self._commands.append(command)
                self._wake.notify()
            return not self._ended

    def _run(self) -> None:
        device.settle_device()
        while True:
            with self._wake:
                while not (self._commands or self._stopping or self._busy()):
                    self._wake.wait()
            self._obey()
            if self._stopping:
                break
            self._round()
        with self._wake:
            self._ended = True
        self._obey()
        for load in self._loads:
            load.done.cancel()
        self._loads.clear()
        for model in list(self._residents):
            self._unload(model)
        device.retire_thread()

    def _begin_stop(self) -> None:
        self._stopping = True

    def _obey(self) -> None:
        while self._commands:
            self._commands.popleft()()

    def _busy(self) -> bool:
        return bool(self._loads) or any(resident.engine.has_work for resident in self._residents.values())

    def _round(self) -> None:
        """Give every engine with work one slice, the shortest first, and the load at the head one."""
        order = sorted(self._residents, key=lambda model: self._residents[model].slice_s)
        for model in order:
            # Commands count between any two slices: a cancel must not wait for a whole round.
            self._obey()
            if self._stopping:
                return
            resident = self._residents.get(model)
            if resident and resident.engine.has_work and not self._sits_out(resident, model):
                self._step(model, resident)
        self._obey()
        if self._loads and not self._stopping and not self._sits_out(self._loads[0], self._loads[0].model):
            self._load_slice(self._loads[0])

    def _sits_out(self, one: SteppedEngine | PendingLoad, model: str) -> bool:
        """Return whether *one*, of *model*, is left out of this round: not while people wait for its memory or for its end."""
        claimants = [self._residents[name] for name in self._books.ledger.claimants if name in self._residents]
        may = model not in self.leaving and not any(claimant.hurried for claimant in claimants)
        return gives_way(one, self._residents.values(), may=may)

    def _step(self, model: str, resident: SteppedEngine) -> None:
        began = time.perf_counter()
        watch = device.SliceMemory()
        try:
            self._breadcrumb.write(resident.name_slice())
            events = resident.engine.step()
        except BaseException as error:  # noqa: BLE001 - native code may raise anything, and the other engines must go on
            self._drop_broken(model, resident, error)
            return
        finally:
            self._breadcrumb.write(())
        spent = time.perf_counter() - began
        resident.slice_s += _SMOOTHING * (spent - resident.slice_s) if resident.slice_s else spent
        resident.most_slice_bytes = max(resident.most_slice_bytes, watch.most_bytes())
        self._publish_state(model, resident)
        for event in events:
            if isinstance(event, Conclusion):
                resident.forget(event.id)
            elif not isinstance(event, Prefilled):
                resident.awaited.discard(event.id)
            self._emit(event)

    def _publish_state(self, model: str, resident: SteppedEngine) -> None:
        engine = resident.engine
        wanted = self._books.wanted_bytes(model, engine.wanted_bytes) if isinstance(engine, KeepsRequests) else 0
        before = self._states.get(model)
        at = before.wanted_at if before is not None and before.wanted_bytes and wanted else time.time() if wanted else 0.0
        self._states[model] = EngineState(self._books.held_bytes(model), wanted, at, resident.most_slice_bytes)
        if before is None or bool(before.wanted_bytes) != bool(wanted):
            self._lacks()

    def _drop_broken(self, model: str, resident: SteppedEngine, error: BaseException) -> None:
        """An engine failed as a whole, so its state is unknown: fail its work and free it; the next call loads it again."""
        log.error("engine.failed", model=model, error=type(error).__name__, exc_info=error)
        work, resident.work = resident.work, {}
        self._unload(model)
        self._lost(model)
        for work_id in work:
            self._emit(Failed(work_id, failure_of(model, error)))

    def _load_slice(self, load: PendingLoad) -> None:
        if load.steps is None:
            self._books.begin_load(load.model, load.need)
            if not self._books.may_load:
                return  # requests of others still hold what it needs, and no new ones get any
        self._breadcrumb.write((load_name(load.model), load.wanted_by))
        began_s = time.perf_counter()
        try:
            if load.steps is None:
                load.began_s = began_s
                load.bytes_before = device.active_bytes()
                load.steps = load.frontend.open(self._books.account(load.model))
            engine = next(load.steps)
        except BaseException as error:  # noqa: BLE001 - loaders of five libraries raise anything on files of any origin
            self._end_failed_load(load, error)
            return
        finally:
            self._breadcrumb.write(())
        ended_s = time.perf_counter()
        load.longest_slice_s = max(load.longest_slice_s, ended_s - began_s)
        if engine is None:
            return
        facts = LoadFacts(max(0, device.active_bytes() - load.bytes_before), ended_s - load.began_s - load.paused_s, load.longest_slice_s)
        resident = self._residents[load.model] = SteppedEngine(engine, facts.bytes, load.need)
        self._books.end_load(load.model, facts.bytes)
        self._publish_state(load.model, resident)
        self._loads.popleft()
        spent = {"seconds": round(facts.seconds, 3), "longest_slice_s": round(facts.longest_slice_s, 3)}
        log.info("model.loaded", model=load.model, bytes=facts.bytes, **spent)
        load.done.set_result(facts)

    def _end_failed_load(self, load: PendingLoad, error: BaseException) -> None:
        log.error("model.load_failed", model=load.model, error=type(error).__name__, exc_info=error)
        self._loads.popleft()
        load.steps = None
        text = f"{load.model} could not be loaded: {error}"
        failure = error if isinstance(error, InferenceError) else ModelLoadFailed(text, param="model")
        failure.__traceback__ = None  # its frames hold the half-loaded weights
        self._books.forget(load.model)
        device.release_memory()
        load.done.set_exception(failure)

    def _unload(self, model: str) -> int:
        resident = self._residents.pop(model, None)
        if resident is None:
            return 0
        before, began = device.active_bytes(), time.perf_counter()
        try:
            resident.engine.close()
        except BaseException as error:  # it goes all the same, and with it what it holds
            log.exception("engine.close_failed", model=model, error=type(error).__name__)
        del resident
        device.release_memory()
        self._books.forget(model)
        self._states.pop(model, None)
        freed = before - device.active_bytes()
        log.info("model.unloaded", model=model, bytes=freed, seconds=round(time.perf_counter() - began, 3))
        return freed

    def _add(self, model: str, work: Work) -> None:
        resident = self._residents.get(model)
        if resident is None:
            text = f"{model} was unloaded before the work reached it."
            self._emit(Failed(work.id, EngineFailed(text)))
            return
        try:
            resident.take(work)
        except BaseException as error:  # of this work alone: nothing of it has been computed
            log.exception("engine.refused", model=model, error=type(error).__name__)
            self._emit(Failed(work.id, failure_of(model, error)))

    def _cancel(self, model: str, work_id: str) -> None:
        resident = self._residents.get(model)
        if resident is not None:
            resident.forget(work_id)
            try:
                resident.engine.cancel(work_id)
            except BaseException as error:  # noqa: BLE001 - as in a step
                self._drop_broken(model, resident, error)
