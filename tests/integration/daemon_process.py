"""The real daemon over a real folder: started as users start it, stopped, and killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from daemon.front_matter import read_head
from tests.integration.command import COMMAND
from tests.transcript_server import TranscriptServer

__all__ = ["DaemonProcess", "results_of", "until"]

_GIVE_UP_S = 30.0


def until(true: Callable[[], object], what: Callable[[], object] = lambda: "it never came true", patience_s: float = _GIVE_UP_S) -> None:
    """Return once *true* is; after a long while fail with what *what* tells."""
    give_up = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < give_up, what()
        time.sleep(0.01)


def results_of(folder: Path) -> dict[str, dict[str, str]]:
    """Return the heads of all results in *folder* and below, by path seen from there."""
    heads = {str(path.relative_to(folder)): read_head(path) for path in sorted(folder.rglob("*.md"))}
    return {name: head for name, head in heads.items() if head is not None}


class DaemonProcess:
    """``mlx-local daemon``."""

    def __init__(self, home: Path, folder: Path, server: TranscriptServer, wrapper: Sequence[str] = (), **settings: str) -> None:
        self.home = home
        self.folder = folder
        plain = {name: value for name, value in os.environ.items() if not name.startswith("MLX_LOCAL_")}
        said = {"HOME": str(home), "TRANSCRIBE_DIR": str(folder), "PORT": str(server.port), "PROFILE": "starter"}
        said |= {"TRANSCRIBE_SETTLE": "0.1", "TRANSCRIBE_RESCAN": "5", "MIN_FREE_DISK": "0"}
        said |= {"ON_BATTERY": "all", "ON_LOW_POWER": "all"} | settings  # a laptop's tests do not wait for its charger
        self.environment = plain | {f"MLX_LOCAL_{name}": value for name, value in said.items()}
        self._wrapper = wrapper
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it logged."""
        return (self.home / "logs" / "transcribe-daemon.log").read_text()

    def start(self) -> None:
        """Start it, and return once it has looked at its folders."""
        self._process = subprocess.Popen([*self._wrapper, *COMMAND, "daemon"], env=self.environment)
        pid = self._process.pid
        until(lambda: self.state().get("pid") == pid or self.ended())

    def state(self) -> dict[str, Any]:
        """Return what it says of its files."""
        with contextlib.suppress(OSError, ValueError):
            facts: dict[str, Any] = json.loads((self.home / "transcribe" / "state.json").read_text())
            return facts
        return {}

    def ended(self) -> bool:
        """Return whether it does not run."""
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """``kill -9``."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """Have it end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    @contextlib.contextmanager
    def running(self) -> Iterator[DaemonProcess]:
        """Run it until the block ends."""
        self.start()
        try:
            yield self
        finally:
            self.kill()

    def command(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command of ``mlx-local`` with its settings, and *more* in the environment."""
        done = subprocess.run([*COMMAND, *words], env=self.environment | more, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done
