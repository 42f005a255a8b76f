"""Workers that might be on machines of their own: each with a home, a memory budget, and a way to Redis that may be cut.

A worker counts as dead half a minute after it was last heard. :func:`lapse` lets that time pass for one that cannot say anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from pydantic import ByteSize

from app.jobs import keys
from app.jobs.rescue import broker_of
from app.jobs.store import JobStore
from app.jobs.workers import WorkerInfo
from app.settings import Settings
from tests.integration.relay import Relay
from tests.integration.worker_process import WorkerProcess

__all__ = ["MODEL_BYTES", "Machine", "catalog", "eventually", "lapse"]

MODEL_BYTES = 100_000_000
_PATIENCE_S = 90.0
_LOOK_S = 0.02


def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    give_up = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, f"never: {what}"
        time.sleep(_LOOK_S)


def catalog(folder: Path, *models: str, engine: str = "tests.troubled_engine:open_slow") -> Path:
    """Write a catalog of scripted models, each of which takes :data:`MODEL_BYTES`."""
    text = ""
    for name in models:
        directory = folder / name
        directory.mkdir()
        (directory / "config.json").write_text("{}")
        (directory / "model.safetensors").write_bytes(b"")
        text += f'[[model]]\nid = "{name}"\nrepo = "{directory}"\ntasks = ["chat"]\n'
        text += f'engine = "{engine}"\nmemory = "{MODEL_BYTES}B"\nslots = 8\n'
    file = folder / "machines.toml"
    file.write_text(text)
    return file


class Machine:
    """A worker in a home of its own, with a way to Redis of its own.

    Args:
        settings: Of the main home, with a catalog; its Redis has a unix socket.
        folder: Where the home is to be.
        name: Of the home's folder.
        fit: How many models of :data:`MODEL_BYTES` its memory holds; None: as many as this machine's does.
        more: Of its worker process.
    """

    def __init__(self, settings: Settings, folder: Path, name: str, fit: int | None = None, **more: str) -> None:
        self.name = name
        self.home = folder / name
        self.home.mkdir()
        self.way = Relay(Path(str(settings.redis_url).removeprefix("unix://")))
        budget = None if fit is None else ByteSize(MODEL_BYTES * fit)
        own = {"home": self.home, "redis_url": f"redis://127.0.0.1:{self.way.port}", "memory_budget": budget}
        self.worker = WorkerProcess(settings.model_copy(update=own), **more)

    @property
    def home_id(self) -> str:
        """The home's name among workers; there once its worker has begun."""
        return (self.home / "run" / "home-id").read_text().partition("\n")[0]

    def presence(self, store: JobStore) -> WorkerInfo | None:
        """Return what its worker says of itself, while it can be heard."""
        known = (self.home / "run" / "home-id").exists()
        return next((one for one in store.workers() if known and one.home == self.home_id), None)

    def held(self, store: JobStore) -> set[str]:
        """Return the jobs that are running by its name."""
        return {job for job, worker, _, _ in store.held() if worker.partition("-")[0] == self.home_id}

    def close(self) -> None:
        """Stop whatever still runs."""
        self.way.mend()
        self.worker.end()
        self.way.close()


def lapse(store: JobStore, machine: Machine) -> None:
    """Let the half minute pass for which a worker that cannot be heard counts as alive."""
    for name in cast("set[str]", store.client.smembers(keys.WORKERS)):
        if name.partition("-")[0] == machine.home_id:
            store.client.delete(keys.worker(name), keys.models_of(name))
            store.client.zadd("dramatiq:__heartbeats__", {broker_of(name): 0})
