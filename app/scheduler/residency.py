"""Which models are resident, and how a caller gets one that is not.

A load is single-flight: many callers of one model wait for one load, and a
failed load fails those who waited for it and nobody after. Loads run one at a
time, in the order in which they were asked for. Models stay; which of them
must leave for another is decided elsewhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from app.engines.registry import open_frontend
from app.errors import InferenceError, ModelLoadFailed, ModelNotDownloaded
from app.jobs.decoding import ModelState
from app.models.hub import locate
from app.scheduler.breadcrumb import load_name

if TYPE_CHECKING:
    from app.engines.protocols import Frontend
    from app.models.spec import ModelSpec
    from app.scheduler.breadcrumb import Preparing
    from app.scheduler.gpu import GpuThread
    from app.scheduler.load_deaths import LoadDeaths
    from app.settings import Settings

__all__ = ["Residency"]


class Residency:
    """Residents of one worker. Thread-safe.

    Args:
        gpu: Loads and frees.
        settings: Say where models are.
        preparing: Names what is opened, should that kill the process.
        deaths: Say which models must not be loaded.
        report: Told whenever a model's state changed; must be quick, and never wait.
    """

    def __init__(
        self,
        gpu: GpuThread,
        settings: Settings,
        preparing: Preparing,
        deaths: LoadDeaths,
        report: Callable[[str, ModelState | None], None],
    ) -> None:
        self._gpu = gpu
        self._preparing = preparing
        self._deaths = deaths
        self._settings = settings
        self._report = report
        self._frontends: dict[str, Future[Frontend]] = {}
        self._lock = threading.Lock()
        self._opening = threading.Lock()

    def acquire(self, spec: ModelSpec, wanted_by: str) -> Frontend:
        """Return the frontend of a model whose engine is resident; load it first where it is not.

        Args:
            spec: The model.
            wanted_by: Work id that is charged if the load kills the process; empty for nobody's.

        Raises:
            ModelNotDownloaded: Its files are not on this machine.
            ModelLoadFailed: They are, and no engine could be made of them, or the attempt killed the worker too often.
        """
        with self._lock:
            flight = self._frontends.get(spec.id)
            mine = flight is None
            if flight is None:
                flight = self._frontends[spec.id] = Future()
        if mine:
            self._load(spec, wanted_by, flight)
        return flight.result()

    def is_resident(self, model: str) -> bool:
        """Return whether a call for the model would not wait."""
        with self._lock:
            flight = self._frontends.get(model)
        return flight is not None and flight.done()

    def forget(self, model: str) -> None:
        """Note that a model's engine is gone; the next call loads it again."""
        with self._lock:
            self._frontends.pop(model, None)
        self._report(model, None)

    def _load(self, spec: ModelSpec, wanted_by: str, flight: Future[Frontend]) -> None:
        try:
            self._report(spec.id, ModelState(state="loading", detail=f"{spec.id} is being loaded."))
            if self._deaths.condemns(spec.id):
                text = f"Loading {spec.id} killed the worker again and again, so it is not tried for some minutes."
                raise ModelLoadFailed(text, param="model")  # noqa: TRY301 - told to all who wait, as any other failure
            # One at a time: transformers' lazy imports break when threads race for them.
            with self._opening, self._preparing.naming(load_name(spec.id), *filter(None, (wanted_by,))):
                frontend = open_frontend(spec, self._directory(spec))
            facts = self._gpu.load(spec.id, frontend, wanted_by).result()
        except BaseException as error:  # whatever it was, those who wait for this load must hear of it
            text = f"{spec.id} could not be loaded: {error}"
            failure = error if isinstance(error, InferenceError) else ModelLoadFailed(text, param="model")
            with self._lock:
                self._frontends.pop(spec.id, None)
            self._report(spec.id, ModelState(state="failed", detail=failure.message))
            flight.set_exception(failure)
            raise failure from error
        self._deaths.forgive(spec.id)
        flight.set_result(frontend)
        self._report(spec.id, ModelState(state="resident", bytes=facts.bytes))

    def _directory(self, spec: ModelSpec) -> Path:
        directory = locate(spec, self._settings)
        if directory is None:
            raise ModelNotDownloaded(spec.id)
        return directory
