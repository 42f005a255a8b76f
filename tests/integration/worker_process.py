"""A real worker process over a test's Redis, started again when it dies, as a supervisor would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from app.settings import Settings

__all__ = ["WorkerProcess", "scripted_catalog"]

_ROOT = Path(__file__).parents[2]


def scripted_catalog(folder: Path, *tasks: str) -> Path:
    """Write a catalog whose model for *tasks*, chat where none is named, is the scripted engine."""
    tasks = tasks or ("chat",)
    model = folder / "scripted"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"")
    catalog = folder / "catalog.toml"
    catalog.write_text(
        f"""
        [[model]]
        id = "scripted"
        repo = "{model}"
        tasks = {json.dumps(tasks)}
        engine = "tests.scripted_engine:open_frontend"
        slots = 8
        [roles]
        """
        + "".join(f'{task} = "scripted"\n' for task in tasks)
    )
    return catalog


class WorkerProcess:
    """Keeps one worker running until :meth:`stop`.

    Args:
        settings: Of its home.
        program: The module to run.
        more: Environment variables.
    """

    def __init__(self, settings: Settings, *, program: str = "app.actors.main", **more: str) -> None:
        self._program = program
        self._environment = (
            os.environ
            | {"MLX_LOCAL_ON_BATTERY": "all", "MLX_LOCAL_ON_LOW_POWER": "all"}  # a laptop's tests do not wait for its charger
            | more
            | {
                "MLX_LOCAL_HOME": str(settings.home),
                "MLX_LOCAL_REDIS_URL": str(settings.redis_url),
                "MLX_LOCAL_CATALOG": str(settings.catalog),
                "MLX_LOCAL_PROFILE": "starter",
                "PYTHONPATH": str(_ROOT),
                "MLX_DISABLE_COMPILE": "1",
                "MLX_LOCAL_DRAIN_TIMEOUT": "1",
                "MLX_LOCAL_MAX_WAIT": f"{settings.max_wait.total_seconds()}s",
            }
        )
        if settings.memory_budget is not None:
            self._environment["MLX_LOCAL_MEMORY_BUDGET"] = str(int(settings.memory_budget))
        self._log = settings.home / "worker.out"
        self._events = settings.logs_dir / "worker.log"
        self._stopping = False
        self._started = threading.Event()
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_running)

    def start(self) -> None:
        """Start the worker, also after a :meth:`stop`; return once the process exists."""
        self._stopping = False
        self._started.clear()
        self._thread = threading.Thread(target=self._keep_running)
        self._thread.start()
        self._started.wait()

    def said(self, event: str, model: str | None = None) -> list[str]:
        """Return the models that the log tells an event of, in order; those of *model* alone where that is given."""
        lines = self._events.read_text().splitlines() if self._events.exists() else []
        told = [entry["model"] for line in lines if (entry := json.loads(line))["event"] == event]
        return [name for name in told if model in {None, name}]

    def kill(self) -> None:
        """``kill -9``; it is started again at once."""
        assert self._process
        self._process.kill()

    def die(self) -> None:
        """``kill -9``, and nobody starts it again."""
        self._stopping = True
        self.kill()
        self._thread.join()

    def end(self) -> None:
        """Stop what still runs, whatever state it is in."""
        if self._thread.is_alive():
            self.stop()

    def hang_up(self) -> None:
        """Send SIGHUP."""
        assert self._process
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        """Drain the worker and return its exit code."""
        self._stopping = True
        assert self._process
        self._process.terminate()
        self._thread.join()
        return self._process.returncode

    def _keep_running(self) -> None:
        while not self._stopping:
            with self._log.open("ab") as out:
                self._process = subprocess.Popen([sys.executable, "-m", self._program], env=self._environment, stdout=out, stderr=out)
            self.starts += 1
            self._started.set()
            self._process.wait()
