"""Several workers on one Redis: what three do together of what one does alone, and what they load for it.

The workers are processes of this machine with homes of their own, and their engine sleeps instead of computing: three machines' worth
of it fits here. What is measured is how work and models are shared out, not how fast a model is.
"""

from __future__ import annotations

import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from app.jobs.record import JobState, Lane
from bench.homes import one_home
from bench.queueing import Client, newest, redis, redis_address, worker
from bench.report import Figure, at_least, at_most, median, ratio
from bench.sleeping_engine import AT_ONCE, LOAD_S, STEP_S, SleepingEngine
from bench.worker_log import loads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.__main__ import Bench

__all__ = ["NOTE", "run"]

_NAME = "cluster"
NOTE = (
    f"Four models whose engine ends {AT_ONCE} jobs in each {STEP_S * 1000:.0f} ms and loads in {LOAD_S} s. One worker has room for "
    "three of them; three workers have room for one, two and three. Jobs come in turn for each model, all at once, to workers that "
    "are there; from the first start to the last end. No way does with fewer loads than one of each model."
)
_MODELS = ("north", "east", "south", "west")
_MODEL_BYTES = 100_000_000
_ALONE = (3,)  # models that fit a worker
_TOGETHER = (1, 2, 3)
_LOOK_S = 0.02


def run(bench: Bench) -> list[Figure]:
    """Do the same work alone and together, in turns."""
    rounds, count = (1, 600) if bench.quick else (3, 1200)
    alone: list[float] = []
    together: list[float] = []
    came: dict[tuple[int, ...], list[int]] = {_ALONE: [], _TOGETHER: []}
    for number in range(rounds):
        bench.say(f"round {number + 1} of {rounds}")
        for fits, rates in ((_ALONE, alone), (_TOGETHER, together)):
            rate, loaded = _measured(fits, count)
            rates.append(rate)
            came[fits].append(loaded)
    against, spread = ratio(together, alone)
    least = len(_MODELS)
    unit = f"loads, of at least {least}"
    return [
        Figure(_NAME, "one worker", median(alone), "jobs/s", spread=_spread(alone)),
        Figure(_NAME, "three workers", median(together), "jobs/s", spread=_spread(together)),
        at_least(_NAME, "three workers / one", against, 2, spread=spread),
        Figure(_NAME, "one worker: loads", median(came[_ALONE]), unit, spread=_spread(came[_ALONE])),
        at_most(_NAME, "three workers: loads", median(came[_TOGETHER]), 2 * least + 1, unit, _spread(came[_TOGETHER])),
    ]


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}"


def _measured(fits: Sequence[int], count: int) -> tuple[float, int]:
    """Return jobs/s of workers with so much room, and how many loads it took them."""
    with contextlib.ExitStack() as held:
        main = held.enter_context(one_home())
        held.enter_context(redis(main))
        catalog = _catalog(main)
        client = Client(main, catalog)
        homes = [held.enter_context(one_home()) for _ in fits]
        for home, fit in zip(homes, fits, strict=True):
            budget = {"MLX_LOCAL_MEMORY_BUDGET": str(_MODEL_BYTES * fit), "MLX_LOCAL_REDIS_URL": redis_address(main)}
            held.enter_context(worker(home, catalog, **budget))
        while len(client.store.workers()) < len(fits):
            time.sleep(_LOOK_S)
        with ThreadPoolExecutor(4) as threads:
            for _ in threads.map(lambda number: client.submit(_MODELS[number % len(_MODELS)], Lane.BATCH), range(count)):
                pass
        while client.store.count_by_state()[JobState.SUCCEEDED] < count:
            time.sleep(_LOOK_S)
        jobs = newest(client.store, count)
        seconds = max(job.finished_at.timestamp() for job in jobs if job.finished_at) - min(
            job.started_at.timestamp() for job in jobs if job.started_at
        )
        return count / seconds, sum(len(loads(home, _MODELS)) for home in homes)


def _catalog(home: Path) -> Path:
    folder = home / "sleeping"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()
    catalog = home / "catalog.toml"
    catalog.write_text("".join(_entry(name, folder) for name in _MODELS))
    return catalog


def _entry(name: str, folder: Path) -> str:
    facts: dict[str, object] = {"id": name, "repo": str(folder), "tasks": ["chat"], "engine": "bench.sleeping_engine:open_frontend"}
    facts |= {"memory": f"{_MODEL_BYTES}B", "slots": SleepingEngine.slots}
    return "[[model]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in facts.items())
