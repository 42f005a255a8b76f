"""Openers of models with trouble outside a step: while they load, or while a request is prepared.

Catalogs name them ``tests.troubled_engine:FUNCTION``. What a model does may be
steered by files in its folder, since a test cannot reach into the worker.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.engines.ledger import KvAccount
from app.engines.protocols import Engine, Loading, Work
from app.models.spec import ModelSpec
from tests.scripted_engine import ScriptedEngine, ScriptedFrontend

__all__ = ["Panic", "open_clinging", "open_deadly", "open_patient", "open_slow", "open_touchy"]

_SLICES = 20
_SLICE_S = 0.015


class Panic(BaseException):
    """What a Rust library raises through its Python binding: no ``Exception``."""


class _Patient(ScriptedFrontend):
    """Loads for as long as its folder has no file ``go``; makes a file ``loading`` when it begins."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, account: KvAccount | None = None) -> Loading:
        def load() -> Iterator[Engine | None]:
            (self._folder / "loading").touch()
            while not (self._folder / "go").exists():
                time.sleep(0.01)
                yield None
            yield ScriptedEngine()

        return load()


class _Slow(ScriptedFrontend):
    """Takes long enough to load that another worker may want it meanwhile."""

    def open(self, account: KvAccount | None = None) -> Loading:
        def load() -> Iterator[Engine | None]:
            for _ in range(_SLICES):
                time.sleep(_SLICE_S)
                yield None
            yield ScriptedEngine()

        return load()


class _Deadly(ScriptedFrontend):
    """Its load kills the process, and adds a line to the file ``deaths`` first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, account: KvAccount | None = None) -> Loading:
        def load() -> Iterator[Engine | None]:
            with (self._folder / "deaths").open("a") as file:
                file.write("died\n")
            os.kill(os.getpid(), signal.SIGKILL)
            yield None

        return load()


class _ClingingEngine(ScriptedEngine):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def close(self) -> None:
        if not (self._folder / "closed").exists():
            (self._folder / "closed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        super().close()


class _Clinging(ScriptedFrontend):
    """Kills the process when it is unloaded for the first time, and leaves a file ``closed``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, account: KvAccount | None = None) -> Loading:
        return iter([_ClingingEngine(self._folder)])


class _Touchy(ScriptedFrontend):
    """Panics while it prepares ``panic``, and kills the process while it prepares ``choke``."""

    def prepare(
        self,
        work_id: str,
        kind: str,
        request: Mapping[str, Any],
        *,
        seed: int,
        published: Sequence[int] = (),
        alone: bool = False,
    ) -> Work:
        script = request["messages"][-1]["content"]
        if script == "panic":
            raise Panic
        if script == "choke":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().prepare(work_id, kind, request, seed=seed, published=published, alone=alone)


def open_patient(spec: ModelSpec, directory: Path) -> ScriptedFrontend:
    """Open a model whose load waits for the test."""
    return _Patient(directory)


def open_slow(spec: ModelSpec, directory: Path) -> ScriptedFrontend:
    """Open a model that takes its time to load."""
    return _Slow()


def open_deadly(spec: ModelSpec, directory: Path) -> ScriptedFrontend:
    """Open a model that cannot be loaded and lived through."""
    return _Deadly(directory)


def open_touchy(spec: ModelSpec, directory: Path) -> ScriptedFrontend:
    """Open a model with two requests that it cannot bear."""
    return _Touchy()


def open_clinging(spec: ModelSpec, directory: Path) -> ScriptedFrontend:
    """Open a model whose first unload kills the process."""
    return _Clinging(directory)
