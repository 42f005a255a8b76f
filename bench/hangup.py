"""How long work goes on after its caller hung up: with a stream, without one, and while the prompt is being read.

Told from outside: work has stopped where the process with the model begins to
use next to no CPU, and, for ours, when the record says ``canceled``.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import aiohttp
import psutil

from bench.chat_client import ask, body
from bench.homes import Server, one_home, peer, stack, starter_models
from bench.report import Figure, at_most, median

if TYPE_CHECKING:
    from bench.__main__ import Bench

__all__ = ["NOTE", "run"]

_NAME = "hangup"
NOTE = (
    "A slice cannot be interrupted; pieces of a prompt are doubled while they take less than 100 ms. "
    "Clock ticks of CPU time are 10 ms, so figures are good to about 20 ms."
)
_WINDOW_S = 0.5
_QUIET = 0.1  # of one core
_GIVE_UP_S = 15.0
_SLICE_S = 0.2  # the longest that a piece of a prompt takes: it is doubled while it takes less than half of that


def run(bench: Bench) -> list[Figure]:
    """Hang up on ours some times, on the others once each."""
    models = starter_models()
    figures: list[Figure] = []
    with one_home(models) as home:
        with stack(home) as server:
            between = ask(server, body(server.model, "Warm", 32)).between_s
            figures.append(Figure(_NAME, "one decoding step, undisturbed", between * 1000, "ms"))
            for name, request, after_s in _cases(server):
                stops, records = zip(
                    *(_hang_up(server, request(number), after_s) for number in range(2 if bench.quick else 3)), strict=True
                )
                bound = (_SLICE_S if "prompt" in name else between) + 0.05
                figures.append(
                    at_most(_NAME, f"{name}: worker quiet after", median(stops) * 1000, round(bound * 1000), "ms", _spread(stops))
                )
                figures.append(Figure(_NAME, f"{name}: record canceled after", median(records) * 1000, "ms", spread=_spread(records)))
        for module in () if bench.quick else ("mlx_lm", "mlx_vlm"):
            with peer(module, home, models / "smollm2-135m-instruct") as other:
                ask(other, body(other.model, "Warm", 32))
                for name, request, after_s in _cases(other):
                    bench.say(f"{other.name}: {name}")
                    stop, _ = _hang_up(other, request(0), after_s)
                    label = f"{name}: {other.name} quiet after" + (" at least" if stop >= _GIVE_UP_S else "")
                    figures.append(Figure(_NAME, label, stop * 1000, "ms"))
    return figures


def _spread(seconds: tuple[float, ...]) -> str:
    return f"{min(seconds) * 1000:.3g} to {max(seconds) * 1000:.3g}"


def _cases(server: Server) -> list[tuple[str, Any, float]]:
    def stream(number: int) -> dict[str, Any]:
        return body(server.model, f"Chapter {number}", 1000)

    def whole(number: int) -> dict[str, Any]:
        request = body(server.model, f"Book {number}", 1000) | {"stream": False}
        del request["stream_options"]
        return request

    def prompt(number: int) -> dict[str, Any]:
        words = " ".join(str(number * 10_000 + word) for word in range(600))
        return body(server.model, "x", 1000) | {"messages": [{"role": "user", "content": words}]}

    return [("streaming", stream, 1.2), ("not streaming", whole, 1.2), ("reading the prompt", prompt, 0.6)]


def _hang_up(server: Server, request: dict[str, Any], after_s: float) -> tuple[float, float]:
    """Return seconds from hanging up until the process was quiet, and until the record said so (NaN where there is none)."""
    return asyncio.run(_hang_up_at(server, request, after_s))


async def _hang_up_at(server: Server, request: dict[str, Any], after_s: float) -> tuple[float, float]:
    process = psutil.Process(server.worker)

    async def read(session: aiohttp.ClientSession) -> None:
        async with session.post(f"{server.url}/v1/chat/completions", json=request) as response:
            await response.read()

    async with aiohttp.ClientSession() as session:
        reading = asyncio.create_task(read(session))
        await asyncio.sleep(after_s)
        if reading.done():
            message = "the answer ended before the caller could hang up"
            raise RuntimeError(message)
        reading.cancel()
        await asyncio.wait([reading])
    left, left_at = time.perf_counter(), time.time()
    stopped = await asyncio.to_thread(_quiet_after, process, left)
    recorded = await _canceled_at(server) - left_at if server.name == "whole path" else float("nan")
    return stopped, recorded


def _quiet_after(process: psutil.Process, left: float) -> float:
    """Return seconds after *left* at which a window began in which the process did next to nothing."""
    samples: list[tuple[float, float]] = []
    while (now := time.perf_counter()) < left + _GIVE_UP_S + _WINDOW_S:
        times = process.cpu_times()
        samples.append((now, times.user + times.system))
        while samples[-1][0] - samples[0][0] >= _WINDOW_S:
            if samples[-1][1] - samples[0][1] <= _QUIET * _WINDOW_S:
                return max(0.0, samples[0][0] - left)
            samples.pop(0)
        time.sleep(0.005)
    return _GIVE_UP_S


async def _canceled_at(server: Server) -> float:
    """Return when the newest job ended, by Redis's clock."""
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/v1/jobs", params={"limit": 1}) as response:
        (job,) = (await response.json())["data"]
    if job["state"] != "canceled":
        message = f"the job is {job['state']}"
        raise RuntimeError(message)
    return datetime.fromisoformat(job["finished_at"]).timestamp()
