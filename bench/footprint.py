"""What each process costs while nothing happens: memory, CPU, and the time until it is of use."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from app.jobs.record import Lane
from app.jobs.store import JobStore
from bench.homes import environment, free_ports, instant_catalog, one_home, stack, wait_for
from bench.queueing import Client, redis
from bench.report import Figure, at_most, median, ratio

if TYPE_CHECKING:
    from bench.__main__ import Bench

__all__ = ["NOTE", "run"]

_NAME = "processes"
NOTE = "Twenty queues: ten models, two lanes, every one used before. No model with weights is loaded. CPU is that of one core."
_MODELS = 10
_MIB = 1024**2


def run(bench: Bench) -> list[Figure]:
    """Look at an idle stack, then start each process some times."""
    return _idle(bench) + _starts(bench)


def _idle(bench: Bench) -> list[Figure]:
    with one_home() as home:
        catalog = instant_catalog(home, _MODELS)
        with stack(home, catalog) as server:
            client = Client(home, catalog)
            for job in [client.submit(f"instant-{number}", lane) for number in range(_MODELS) for lane in Lane]:
                client.ended(job)
            processes = _processes(server.process.pid, home)
            time.sleep(2)  # what the jobs left to do
            bench.say("idle")
            rounds = [_cpu(processes, 3 if bench.quick else 10) for _ in range(3)]
            memory = {name: process.memory_info().rss / _MIB for name, process in processes.items()}
    figures = []
    for name, used in memory.items():
        text = f"memory: {name}"
        figures.append(at_most(_NAME, text, used, 130 * 1e6 / _MIB, "MiB") if name == "api" else Figure(_NAME, text, used, "MiB"))
    figures += [Figure(_NAME, f"idle CPU: {name}", median([one[name] for one in rounds]), "%") for name in processes]
    total = [sum(one.values()) for one in rounds]
    spread = f"{min(total):.2g} to {max(total):.2g}"
    return [*figures, at_most(_NAME, "idle CPU: whole stack, 20 queues known", median(total), 2, "%", spread)]


def _processes(supervisor: int, home: Path) -> dict[str, psutil.Process]:
    command = [sys.executable, "-m", "app.cli.main", "status", "--json"]
    found = json.loads(subprocess.run(command, env=environment(home), capture_output=True, check=True).stdout)["processes"]
    return {"supervisor": psutil.Process(supervisor)} | {name: psutil.Process(int(of["pid"])) for name, of in found.items() if name != "up"}


def _cpu(processes: Mapping[str, psutil.Process], seconds: float) -> dict[str, float]:
    """Return the CPU that each process uses, in percent of one core."""

    def used() -> dict[str, float]:
        return {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}

    before, began = used(), time.perf_counter()
    time.sleep(seconds)
    after, took = used(), time.perf_counter() - began
    return {name: 100 * (after[name] - before[name]) / took for name in processes}


def _starts(bench: Bench) -> list[Figure]:
    """Start each process some times, taking turns with a bare Python that ends at once."""
    took: dict[str, list[float]] = {"python": [], "redis": [], "api": [], "worker": []}
    for number in range(1 if bench.quick else 5):
        bench.say(f"starting, round {number + 1}")
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        took["python"].append(time.perf_counter() - began)
        with one_home() as home:
            catalog = instant_catalog(home)
            began = time.perf_counter()
            with redis(home):
                took["redis"].append(time.perf_counter() - began)
                took["api"].append(_api_start(home, catalog))
                took["worker"].append(_worker_start(home, catalog))
    figures = [Figure(_NAME, "start: a Python that does nothing", median(took["python"]) * 1000, "ms")]
    for name in ("redis", "api", "worker"):
        against, spread = ratio(took[name], took["python"])
        seconds = median(took[name])
        figures.append(
            at_most(_NAME, f"start: {name}", seconds, 2, "s") if name == "api" else Figure(_NAME, f"start: {name}", seconds, "s")
        )
        figures.append(Figure(_NAME, f"start: {name} / Python", against, spread=spread))
    return figures


def _api_start(home: Path, catalog: Path) -> float:
    (port,) = free_ports(1)
    env = environment(home, MLX_LOCAL_CATALOG=str(catalog), MLX_LOCAL_PORT=str(port))
    log = home / "api.out"
    return _timed("api", env, log, lambda process: wait_for(f"http://127.0.0.1:{port}/health", process, log))


def _worker_start(home: Path, catalog: Path) -> float:
    store: JobStore = Client(home, catalog).store

    def listed(process: subprocess.Popen[bytes]) -> None:
        while not store.workers():
            if process.poll() is not None:
                raise RuntimeError((home / "worker.out").read_text())
            time.sleep(0.01)

    return _timed("worker", environment(home, MLX_LOCAL_CATALOG=str(catalog)), home / "worker.out", listed)


def _timed(name: str, env: dict[str, str], log: Path, ready: Callable[[subprocess.Popen[bytes]], None]) -> float:
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "app.cli.main", name], env=env, stdout=out, stderr=out)
    try:
        ready(process)
        return time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(60)
