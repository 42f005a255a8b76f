"""Which models are in memory, who uses them, and the way in and out.

A model is absent, loading, resident or leaving. A **lease** holds a resident
model: it is not unloaded under anybody who has one. Who asks for a model that
is absent waits; the load that others decide on (:mod:`app.scheduler.conductor`)
gives all who wait their lease at once, before anybody could take the model away
again. So a load is single-flight, whoever asks, and a failed one fails those
who waited for it.

Nothing here decides what is loaded or unloaded.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.engines.registry import open_frontend
from app.errors import InferenceError, ModelLoadFailed, ModelNotDownloaded
from app.log import get_logger
from app.models.hub import locate
from app.models.voice_activity import silero_directory
from app.scheduler.breadcrumb import load_name
from app.scheduler.tenants import Held, Past, Tenant, Waiter, Waiting

if TYPE_CHECKING:
    from app.engines.protocols import Frontend
    from app.models.spec import ModelSpec
    from app.scheduler.books import Need
    from app.scheduler.breadcrumb import Preparing
    from app.scheduler.circuit import Circuits
    from app.scheduler.gpu import GpuThread
    from app.scheduler.load_deaths import LoadDeaths
    from app.scheduler.stepping import LoadFacts
    from app.scheduler.swaps import Swaps
    from app.settings import Settings

__all__ = ["Residency"]

log = get_logger("worker.residency")

_NEWEST = 0.2  # weight of a job in the mean of its model's: about the last ten count


class Residency:
    """The models of one worker. Thread-safe.

    Args:
        gpu: Loads and frees.
        settings: Say where models are.
        preparing: Names what is opened, should that kill the process.
        deaths: Say which models must not be loaded.
        circuits: Say which failed lately.
        changed: Called whenever something here may change a decision. Must be quick, and never wait.
        swaps: Counts what comes and goes.
    """

    def __init__(
        self,
        gpu: GpuThread,
        settings: Settings,
        preparing: Preparing,
        deaths: LoadDeaths,
        circuits: Circuits,
        changed: Callable[[], None],
        swaps: Swaps,
    ) -> None:
        self._gpu = gpu
        self._settings = settings
        self._preparing = preparing
        self._deaths = deaths
        self._circuits = circuits
        self._changed = changed
        self._swaps = swaps
        self._residents: dict[str, Tenant] = {}
        self._waiters: dict[str, list[Waiter]] = {}
        self._pasts: dict[str, Past] = {}
        self._refusals: Mapping[str, InferenceError] = {}
        self._loading: str | None = None
        self.loading_since = 0.0  # epoch s
        self.asked = False  # whether somebody waits for what is being loaded; its load gives way to others' answers until then
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def lease(self, spec: ModelSpec, wanted_by: str, withdrawn: Future[Any], keep_s: float | None = None) -> Iterator[Frontend]:
        """Hold a model for as long as the block runs; wait for it first where it is not in memory.

        Args:
            spec: The model.
            wanted_by: Work id that is charged if the load kills the process.
            withdrawn: Once it is done, nobody wants the model here any more.
            keep_s: How long the model stays after that, 0: no longer than it is used; None: as the catalog says.

        Raises:
            ModelNotDownloaded: Its files are not on this machine.
            ModelLoadFailed: They are, and no engine could be made of them.
            CancelledError: It was withdrawn before the model came.
        """
        resident = self._wait(spec, wanted_by, withdrawn)
        began = time.monotonic()
        try:
            yield resident.frontend
            self._remember(spec.id, time.monotonic() - began)
        finally:
            self._give_back(spec.id, resident, keep_s)

    def held(self) -> list[Held]:
        """Return every model in memory that is not on its way out."""
        with self._lock:
            return [
                Held(model, one.bytes, one.leases, one.served, one.loaded_at, one.last_used, one.pinned_until)
                for model, one in self._residents.items()
                if not one.leaving
            ]

    def frontend(self, model: str) -> Frontend | None:
        """Return the frontend of a model that is in memory, for what needs no engine and so no lease."""
        with self._lock:
            resident = self._residents.get(model)
            return resident.frontend if resident is not None else None

    @property
    def loading(self) -> str | None:
        """The model that is being loaded."""
        return self._loading

    def leaving(self) -> dict[str, int]:
        """Return the models that are on their way out, and the bytes that are not free yet."""
        with self._lock:
            return {model: one.bytes for model, one in self._residents.items() if one.leaving}

    def past(self, model: str) -> Past:
        """Return what is remembered of *model*."""
        return self._pasts.get(model, Past())

    def waiting(self) -> dict[str, Waiting]:
        """Return who waits in this process, by model."""
        with self._lock:
            return {model: Waiting(len(them), min(one.since for one in them)) for model, them in self._waiters.items() if them}

    def refuse(self, refusals: Mapping[str, InferenceError]) -> None:
        """Let nobody wait for models that can never come, and say why; until this is called again."""
        with self._lock:
            self._refusals = refusals
            waiters = [(waiter, error) for model, error in refusals.items() for waiter in self._waiters.pop(model, [])]
        for waiter, error in waiters:
            if waiter.granted.set_running_or_notify_cancel():
                waiter.granted.set_exception(error)

    def load(self, spec: ModelSpec, need: Need, *, asked: bool = True) -> None:
        """Begin to load *spec*, which is expected to take *need*; *asked*: for somebody who waits. One at a time, :attr:`loading`."""
        with self._lock:
            if self._loading is not None:
                msg = f"{self._loading} is being loaded"
                raise RuntimeError(msg)
            self._loading = spec.id
            self.asked = asked
            self.loading_since = time.time()
        threading.Thread(target=self._load, args=(spec, need), name="loader", daemon=True).start()

    def unload(self, model: str) -> bool:
        """Begin to unload *model*, unless somebody has a lease on it; return whether it goes."""
        with self._lock:
            resident = self._residents.get(model)
            if resident is None or resident.leases or resident.leaving:
                return False
            resident.leaving = True
        self._gpu.unload(model).add_done_callback(lambda _: self.forget(model))
        return True

    def forget(self, model: str) -> None:
        """Note that a model's engine is gone: it was unloaded, or failed as a whole. The next call loads it again."""
        with self._lock:
            if self._residents.pop(model, None) is not None:
                self._swaps.left(model)
            self._pasts[model] = replace(self.past(model), left_at=time.time())
        self._changed()

    def close(self) -> None:
        """Let nobody wait any more: this worker stops."""
        with self._lock:
            waiters = [waiter for them in self._waiters.values() for waiter in them]
            self._waiters.clear()
        for waiter in waiters:
            waiter.granted.cancel()

    def _wait(self, spec: ModelSpec, wanted_by: str, withdrawn: Future[Any]) -> Tenant:
        waiter = Waiter(wanted_by, time.time())
        with self._lock:
            resident = self._residents.get(spec.id)
            if resident is not None and not resident.leaving:
                return self._grant(resident)
            if self._loading != spec.id:
                self._refuse(spec)
            self._waiters.setdefault(spec.id, []).append(waiter)
        withdrawn.add_done_callback(lambda _: self._leave(spec.id, waiter))
        self._changed()
        return waiter.granted.result()

    def _refuse(self, spec: ModelSpec) -> None:
        if spec.id in self._refusals:
            raise self._refusals[spec.id].with_traceback(None)
        if locate(spec, self._settings) is None:
            raise ModelNotDownloaded(spec.id)
        circuit = self._circuits.find(spec.id)
        if circuit is not None:
            raise circuit.error.with_traceback(None)  # the same one for many callers: none sees another's frames

    @staticmethod
    def _grant(resident: Tenant) -> Tenant:
        resident.leases += 1
        resident.served += 1
        resident.last_used = time.time()
        return resident

    def _give_back(self, model: str, resident: Tenant, keep_s: float | None) -> None:
        with self._lock:
            resident.leases -= 1
            resident.last_used = time.time()
            self._pasts[model] = replace(self.past(model), keep_s=keep_s)
            if keep_s is not None:  # a request that says nothing leaves a pin as it is
                resident.pinned_until = resident.last_used + keep_s if keep_s else None
        self._changed()

    def _remember(self, model: str, seconds: float) -> None:
        with self._lock:
            past = self.past(model)
            mean_s = seconds if past.job_s is None else past.job_s + _NEWEST * (seconds - past.job_s)
            self._pasts[model] = replace(past, job_s=mean_s)

    def _leave(self, model: str, waiter: Waiter) -> None:
        with self._lock:
            if waiter not in self._waiters.get(model, []):
                return
            self._waiters[model].remove(waiter)
        waiter.granted.cancel()
        self._changed()

    def _load(self, spec: ModelSpec, need: Need) -> None:
        with self._lock:
            wanted_by = next((waiter.wanted_by for waiter in self._waiters.get(spec.id, []) if waiter.wanted_by), "")
        try:
            frontend, facts = self._open(spec, need, wanted_by)
        except BaseException as error:  # noqa: BLE001 - whatever it was, those who wait for this load must hear of it
            self._fail(spec, error)
        else:
            self._deaths.forgive(spec.id)
            self._circuits.close(spec.id)
            self._swaps.loaded(spec.id, facts.seconds)
            self._arrive(spec.id, frontend, facts)
        self._changed()

    def _open(self, spec: ModelSpec, need: Need, wanted_by: str) -> tuple[Frontend, LoadFacts]:
        if self._deaths.condemns(spec.id):
            text = f"Loading {spec.id} killed the worker again and again, so it is not tried for some minutes."
            raise ModelLoadFailed(text, param="model")
        with self._preparing.naming(load_name(spec.id), *filter(None, (wanted_by,))):
            frontend = open_frontend(spec, self._directory(spec), silero_directory(self._settings))
        return frontend, self._gpu.load(spec.id, frontend, wanted_by, need, lambda: self.asked).result()

    def _arrive(self, model: str, frontend: Frontend, facts: LoadFacts) -> None:
        now = time.time()
        with self._lock:
            resident = self._residents[model] = Tenant(frontend, facts.bytes, now, now)
            self._pasts[model] = replace(self.past(model), load_s=facts.seconds, keep_s=None)
            self._loading = None
            granted = [waiter for waiter in self._waiters.pop(model, []) if waiter.granted.set_running_or_notify_cancel()]
            for _ in granted:
                self._grant(resident)
        for waiter in granted:
            waiter.granted.set_result(resident)

    def _fail(self, spec: ModelSpec, error: BaseException) -> None:
        text = f"{spec.id} could not be loaded: {error}"
        failure = error if isinstance(error, InferenceError) else ModelLoadFailed(text, param="model")
        failure.__traceback__ = None  # it is kept, and its frames would be too
        if isinstance(error, CancelledError):
            log.info("load.broken_off", model=spec.id)
        elif not isinstance(error, ModelNotDownloaded):
            self._swaps.failed(spec.id)
            circuit = self._circuits.fail(spec.id, failure)
            log.warning("model.circuit_opened", model=spec.id, failures=circuit.failures, reason=failure.message)
        with self._lock:
            self._loading = None
            waiters = self._waiters.pop(spec.id, [])
        for waiter in waiters:
            if waiter.granted.set_running_or_notify_cancel():
                waiter.granted.set_exception(failure)

    def _directory(self, spec: ModelSpec) -> Path:
        directory = locate(spec, self._settings)
        if directory is None:
            raise ModelNotDownloaded(spec.id)
        return directory
