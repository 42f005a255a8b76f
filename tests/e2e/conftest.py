"""The whole stack, as ``mlx-local up`` starts it, over the starter models."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import httpx
import openai
import pytest

__all__ = ["Stack", "client", "stack", "starter_models"]

from tests.starter import starter_models

_ROOT = Path(__file__).resolve().parents[2]


class Stack:
    """A running ``mlx-local up`` with a home of its own, and *settings* besides those that every such stack has."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.port, self.audio_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MLX_LOCAL_")}
        chosen = {
            "MLX_LOCAL_HOME": str(home),
            "MLX_LOCAL_PORT": str(self.port),
            "MLX_LOCAL_AUDIO_PORT": str(self.audio_port),
            "MLX_LOCAL_PROFILE": "starter",
            "MLX_LOCAL_ON_BATTERY": "all",
            "MLX_LOCAL_ON_LOW_POWER": "all",
            "MLX_LOCAL_MIN_FREE_DISK": "0",
            "MLX_LOCAL_TRANSCRIBE_DIR": str(home / "recordings"),
            "HF_ENDPOINT": "http://127.0.0.1:9",  # nobody listens at that port
            "HF_HOME": str(home / "hub"),
            "PYTHONPATH": str(_ROOT),  # a catalog may name an engine of the tests
        }
        self.environment = clean | chosen | {f"MLX_LOCAL_{name}": value for name, value in settings.items()}
        self.output = home / "up.out"
        with self.output.open("wb") as out:
            command = [sys.executable, "-m", "app.cli.main", "up"]
            self._up = subprocess.Popen(command, env=self.environment, stdout=out, stderr=out, start_new_session=True)

    def run(self, *words: str) -> str:
        """Run a command of ``mlx-local`` and return what it prints."""
        command = [sys.executable, "-m", "app.cli.main", *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    def pid(self, process: str) -> int:
        """Return the process id of ``api``, ``worker`` or ``redis``."""
        return int(json.loads(self.run("status", "--json"))["processes"][process]["pid"])

    def kill(self, process: str) -> None:
        """``kill -9``; the supervisor starts it again."""
        os.kill(self.pid(process), signal.SIGKILL)

    def wait_until_ready(self) -> None:
        """Return once a chat can be answered."""
        give_up = time.monotonic() + 120
        while time.monotonic() < give_up:
            assert self._up.poll() is None, self.output.read_text()
            try:
                if httpx.get(f"{self.url}/ready", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        pytest.fail(self.output.read_text())

    def stop(self) -> int:
        """Ctrl-C, and wait."""
        self._up.send_signal(signal.SIGINT)
        return self._up.wait(90)


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def stack(starter_models: Path) -> Iterator[Stack]:
    """A stack for the tests of one module, which finds no hub."""
    home = Path(tempfile.mkdtemp(prefix="mlx-", dir="/tmp"))
    (home / "models").symlink_to(starter_models)
    running = Stack(home)
    try:
        running.wait_until_ready()
        yield running
    finally:
        code = running.stop()
        text = running.output.read_text()
        rmtree(home)
    assert code == 0, text


@pytest.fixture
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    """The official client."""
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key="none", max_retries=0, timeout=240) as made:
        yield made
