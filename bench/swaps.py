"""Three chat models of which one fits: how often they are swapped, how long all takes, and what it costs those beside.

The three are one model under three names, each loaded by itself, and f32 on a
CPU. FIFO's loads are counted from the order of the requests; mlx_lm.server is
asked for the same in the same order, with a guard on its memory and its time.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import psutil

from app.machine import detect
from app.models.spec import ModelSpec, Task
from app.scheduler.needs import Needs
from app.scheduler.peaks import Peaks
from bench import beside
from bench.chat_client import body, chat
from bench.homes import Server, one_home, peer, stack, starter_models
from bench.report import Figure, at_most, median
from bench.worker_log import loads

if TYPE_CHECKING:
    from bench.__main__ import Bench

__all__ = ["NOTE", "copy_of", "room_for_one", "run"]

_NAME = "swaps"
NOTE = (
    "Three times SmolLM2-135M, of which one fits beside all-MiniLM-L6-v2; short prompts, answers of 8 tokens. "
    "FIFO's loads are counted from the order; whose model is there at the start has one less, in all ways."
)
_MODELS = ("one", "two", "three")
_TOKENS = 8
_EACH_S = 0.05
_GIVE_UP_S = 180.0
_GUARD_BYTES = 8 * 10**9  # a server that holds more is ended: its remaining requests count as errors
_LOOK_S = 0.2

Rounds = dict[tuple[str, str], list[float]]  # (what, order) -> one value for each round


def run(bench: Bench) -> list[Figure]:
    """Ask for the three in random order and in strict alternation, then measure what is beside loads and chats."""
    rounds = 1 if bench.quick else 3
    ours: Rounds = defaultdict(list)
    theirs: Rounds = defaultdict(list)
    models = starter_models()
    with one_home(models) as home:
        folders = {name: copy_of(models / "smollm2-135m-instruct", home / "three" / name) for name in _MODELS}
        entries = "".join(f'[[model]]\nid = "{name}"\nrepo = "{folder}"\ntasks = ["chat"]\n' for name, folder in folders.items())
        catalog = home / "catalog.toml"
        catalog.write_text(entries + '[roles]\nchat = "one"\n')
        budget_bytes = room_for_one(home, folders["one"], models / "all-minilm-l6-v2")
        with stack(home, catalog, MLX_LOCAL_MEMORY_BUDGET=str(budget_bytes)) as server:
            for number in range(rounds):
                bench.say(f"round {number + 1} of {rounds}")
                for name, order, each_s in _orders(number):
                    before = len(loads(home, _MODELS))
                    seconds, errors = asyncio.run(_ask_all(server, order, f"{number}.{name}", each_s))
                    _note(ours, name, seconds=seconds, errors=errors, loads=len(loads(home, _MODELS)) - before, fifo=_changes(order))
            figures = [figure for name, _, _ in _orders(0) for figure in _ours(ours, name)]
            bench.say("beside loads and chats")
            figures += beside.figures(bench, server, home, _MODELS)
        with peer("mlx_lm", home, folders["one"]) as other:
            for number in range(rounds):
                bench.say(f"{other.name}, round {number + 1} of {rounds}")
                for name, order, each_s in _orders(number):
                    paths = [str(folders[model]) for model in order]
                    seconds, errors = asyncio.run(_ask_all(other, paths, f"{number}.{name}", each_s))
                    _note(theirs, name, seconds=seconds, errors=errors)
    return figures + [figure for name, _, _ in _orders(0) for figure in _theirs(theirs, name)]


def copy_of(folder: Path, to: Path) -> Path:
    """Make a folder with links to the files of *folder*: another model, as far as anybody can tell."""
    to.mkdir(parents=True)
    for file in folder.iterdir():
        (to / file.name).symlink_to(file)
    return to


def room_for_one(home: Path, chat_folder: Path, embedding_folder: Path) -> int:
    """Return a budget that holds one of the three beside the embedding model, and not two."""
    needs = Needs(Peaks(home / "peaks.json"), cpu=not detect().accelerated)
    one = needs.of(ModelSpec(id="one", repo=str(chat_folder), tasks=(Task.CHAT,)), chat_folder)
    beside_it = needs.of(ModelSpec(id="embedding", repo=str(embedding_folder), tasks=(Task.EMBEDDING,)), embedding_folder)
    return one.load_bytes + beside_it.load_bytes + one.weights_bytes // 4


def _orders(number: int) -> list[tuple[str, list[str], float]]:
    """Return what is asked for in one round: a name, the models in order, and the seconds between two requests."""
    rng = random.Random(number)  # noqa: S311 - a mix that is the same every time
    return [
        ("60 in random order", [rng.choice(_MODELS) for _ in range(60)], _EACH_S),
        ("40 in alternation", [_MODELS[turn % 2] for turn in range(40)], 0.0),
    ]


def _changes(order: Sequence[str]) -> int:
    """Return the loads of one queue in strict order, one model at a time."""
    return 1 + sum(one != other for one, other in pairwise(order))


async def _ask_all(server: Server, order: Sequence[str], salt: str, each_s: float) -> tuple[float, int]:
    """Return the seconds until the last answer, and how many requests have none."""
    loop = asyncio.get_running_loop()
    guard = asyncio.create_task(_guard(server))
    timeout = aiohttp.ClientTimeout(total=_GIVE_UP_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        began = loop.time()
        asked: list[asyncio.Task[Any]] = []
        for number, model in enumerate(order):
            await asyncio.sleep(max(0.0, began + number * each_s - loop.time()))
            asked.append(asyncio.create_task(chat(session, server, _short(model, f"{salt}.{number}"))))
        answers = await asyncio.gather(*asked)
        seconds = loop.time() - began
    guard.cancel()
    return seconds, sum(answer.error is not None for answer in answers)


def _short(model: str, salt: str) -> dict[str, Any]:
    """Return a request of which little is left to do once its model is there."""
    return body(model, salt, _TOKENS) | {"messages": [{"role": "user", "content": f"{salt}: hello"}]}


async def _guard(server: Server) -> None:
    """End a server that takes the machine's memory."""
    process = psutil.Process(server.worker)
    while process.memory_info().rss < _GUARD_BYTES:  # noqa: ASYNC110 - no event tells of another process's memory
        await asyncio.sleep(_LOOK_S)
    server.process.kill()


def _note(found: Rounds, order: str, **values: float) -> None:
    for what, value in values.items():
        found[what, order].append(value)


def _ours(found: Rounds, order: str) -> list[Figure]:
    lowest = len({model for name, asked, _ in _orders(0) if name == order for model in asked})
    came, fifo = found["loads", order], found["fifo", order]
    spread = f"{min(came):g} to {max(came):g}"
    return [
        Figure(_NAME, f"{order}: all answered after", median(found["seconds", order]), "s"),
        at_most(_NAME, f"{order}: refused or broken", sum(found["errors", order]), 0, "of all rounds"),
        at_most(_NAME, f"{order}: loads", median(came), 2 * lowest + 1, "loads", spread),
        Figure(_NAME, f"{order}: loads of FIFO", median(fifo), "loads"),
        at_most(_NAME, f"{order}: loads / FIFO's", max(one / other for one, other in zip(came, fifo, strict=True)), 0.25),
    ]


def _theirs(found: Rounds, order: str) -> list[Figure]:
    return [
        Figure(_NAME, f"{order}: mlx_lm.server, ended after", median(found["seconds", order]), "s"),
        Figure(_NAME, f"{order}: mlx_lm.server, refused or broken", sum(found["errors", order]), "of all rounds"),
    ]
