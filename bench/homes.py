"""Private homes, free ports and the processes that run over them. Every process that is started here is stopped here."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shutil import rmtree

import psutil

from app.machine import worker_environment
from app.settings import Settings, load_settings

__all__ = [
    "Server",
    "bench_settings",
    "environment",
    "free_ports",
    "instant_catalog",
    "one_home",
    "peer",
    "stack",
    "starter_models",
    "wait_for",
]

_ROOT = Path(__file__).parents[1]
_START_S = 180.0


class Server:
    """A process that answers HTTP on a port of this machine."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int, model: str, worker: int) -> None:
        self.name = name
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.model = model
        self.worker = worker  # id of the process that has the model

    def process_tree(self) -> list[psutil.Process]:
        """Return the process and those that it has started."""
        process = psutil.Process(self.process.pid)
        return [process, *process.children(recursive=True)]


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return this process's environment with a home of its own and none of the user's settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MLX_LOCAL_")}
    chosen = {"MLX_LOCAL_HOME": str(home), "MLX_LOCAL_PROFILE": "starter", "MLX_LOCAL_MIN_FREE_DISK": "0"}
    chosen["MLX_LOCAL_TRANSCRIBE_DIR"] = str(home / "recordings")
    chosen |= {"MLX_LOCAL_ON_BATTERY": "all", "MLX_LOCAL_ON_LOW_POWER": "all"}
    chosen["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    return clean | chosen | more


def starter_models() -> Path:
    """Return the folder of the converted starter models, made on first use and kept in the virtual environment."""
    cache = Path(os.environ.get("MLX_LOCAL_TEST_CACHE") or Path(sys.prefix) / "mlx-local-test-cache")
    subprocess.run([sys.executable, "-m", "app.models.starter"], env=environment(cache), check=True)
    return cache / "models"


@contextlib.contextmanager
def one_home(models: Path | None = None) -> Iterator[Path]:
    """Make a home, over *models* where given, and remove it."""
    home = Path(tempfile.mkdtemp(prefix="mlx-bench-"))
    if models is not None:
        (home / "models").symlink_to(models)
    try:
        yield home
    finally:
        rmtree(home)


def instant_catalog(home: Path, count: int = 1) -> Path:
    """Write a catalog of *count* models ``instant-0 …`` that answer at once; ``instant-0`` has the role chat."""
    folder = home / "instant"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()
    entry = '[[model]]\nid = "instant-{}"\nrepo = "{}"\ntasks = ["chat"]\nengine = "bench.instant_engine:open_frontend"\nslots = 64\n'
    text = "".join(entry.format(number, folder) for number in range(count))
    catalog = home / "catalog.toml"
    catalog.write_text(text + '[roles]\nchat = "instant-0"\n')
    return catalog


def wait_for(url: str, process: subprocess.Popen[bytes], output: Path) -> None:
    """Return once *url* answers 200."""
    give_up = time.monotonic() + _START_S
    while time.monotonic() < give_up:
        if process.poll() is not None:
            break
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError), urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own address
            if answer.status == 200:
                return
        time.sleep(0.02)
    message = f"{url} never answered 200:\n{output.read_text()}"
    raise RuntimeError(message)


@contextlib.contextmanager
def _running(command: Sequence[str], env: Mapping[str, str], output: Path, stop: signal.Signals) -> Iterator[subprocess.Popen[bytes]]:
    with output.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def stack(home: Path, catalog: Path | None = None, **more: str) -> Iterator[Server]:
    """Run ``mlx-local up`` over *home*, with *more* in its environment, until the block ends."""
    port, audio = free_ports(2)
    env = environment(home, MLX_LOCAL_PORT=str(port), MLX_LOCAL_AUDIO_PORT=str(audio)) | more
    if catalog is not None:
        env["MLX_LOCAL_CATALOG"] = str(catalog)
    with _running([sys.executable, "-m", "app.cli.main", "up"], env, home / "up.out", signal.SIGINT) as process:
        wait_for(f"http://127.0.0.1:{port}/ready", process, home / "up.out")
        command = [sys.executable, "-m", "app.cli.main", "status", "--json"]
        found = json.loads(subprocess.run(command, env=env, capture_output=True, check=True).stdout)
        yield Server("whole path", process, port, "chat", int(found["processes"]["worker"]["pid"]))


@contextlib.contextmanager
def peer(module: str, home: Path, model: Path) -> Iterator[Server]:
    """Run ``python -m MODULE server`` (mlx_lm or mlx_vlm) with *model*, and what our worker gets in its environment."""
    (port,) = free_ports(1)
    env = environment(home, **worker_environment(load_settings(home=home)), HF_HUB_OFFLINE="1")
    words = ["mlx_lm", "server"] if module == "mlx_lm" else ["mlx_vlm.server"]
    command = [sys.executable, "-m", *words, "--log-level", "ERROR", "--model", str(model), "--host", "127.0.0.1", "--port", str(port)]
    output = home / f"{module}.out"
    with _running(command, env, output, signal.SIGTERM) as process:
        wait_for(f"http://127.0.0.1:{port}/health", process, output)
        yield Server(f"{module}.server", process, port, str(model), process.pid)


def bench_settings(home: Path, catalog: Path | None = None) -> Settings:
    """Return the settings that the processes over *home* have."""
    return load_settings(home=home, catalog=catalog, profile="starter", min_free_disk=0)
