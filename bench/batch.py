"""A batch for three chat models of which two fit, beside a person's chats: what it costs them, and how often models are swapped.

The three are one model under three names, each loaded by itself, as in ``swaps``. The person asks the first of them, and waits for
each answer before the next question, without long pauses: a model that nobody asks for gives way to the batch's others, as it should.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from app.machine import detect
from app.models.spec import ModelSpec, Task
from app.scheduler.needs import Needs
from app.scheduler.peaks import Peaks
from bench.chat_client import body, chat
from bench.homes import Server, one_home, stack, starter_models
from bench.report import Figure, at_most, median, percentile
from bench.swaps import copy_of
from bench.worker_log import loads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.__main__ import Bench

__all__ = ["NOTE", "run"]

_NAME = "batch"
NOTE = (
    "Three times SmolLM2-135M, of which two fit beside all-MiniLM-L6-v2; lines in turn for each, answers of 8 tokens. "
    "No way does with fewer loads than one of each model that is not there at the start; a step is what is between two tokens of a "
    "chat beside the batch."
)
_MODELS = ("one", "two", "three")
_TOKENS = 8
_CHAT_TOKENS = 16
_CHATS_ALONE = 20
_PAUSE_S = 0.2
_LOOK_S = 0.5
_FINAL = frozenset({"completed", "failed", "expired", "cancelled"})


def run(bench: Bench) -> list[Figure]:
    """Run a batch alone, then one with chats beside it."""
    lines = 200 if bench.quick else 2000
    models = starter_models()
    with one_home(models) as home:
        folders = {name: copy_of(models / "smollm2-135m-instruct", home / "three" / name) for name in _MODELS}
        entries = "".join(f'[[model]]\nid = "{name}"\nrepo = "{folder}"\ntasks = ["chat"]\n' for name, folder in folders.items())
        catalog = home / "catalog.toml"
        catalog.write_text(entries + '[roles]\nchat = "one"\n')
        budget_bytes = _room_for_two(home, folders["one"], models / "all-minilm-l6-v2")
        with stack(home, catalog, MLX_LOCAL_MEMORY_BUDGET=str(budget_bytes)) as server:
            return asyncio.run(_measured(bench, server, home, lines))


def _room_for_two(home: Path, chat_folder: Path, embedding_folder: Path) -> int:
    """Return a budget in which any two of the three can be, and not all."""
    needs = Needs(Peaks(home / "peaks.json"), cpu=not detect().accelerated)
    one = needs.of(ModelSpec(id="one", repo=str(chat_folder), tasks=(Task.CHAT,)), chat_folder)
    beside_them = needs.of(ModelSpec(id="embedding", repo=str(embedding_folder), tasks=(Task.EMBEDDING,)), embedding_folder)
    return 2 * one.load_bytes + beside_them.weights_bytes


async def _measured(bench: Bench, server: Server, home: Path, lines: int) -> list[Figure]:
    timeout = aiohttp.ClientTimeout(total=3600)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        bench.say("chats alone")
        never = asyncio.Event()
        await _chats(session, server, "Warm", never, at_most=2)
        alone, _ = await _chats(session, server, "Alone", never, at_most=_CHATS_ALONE)
        bench.say(f"{lines} lines alone")
        figures = _of_batch("alone", lines, await _batch(session, server, home, lines, "alone"))
        bench.say(f"{lines} lines with chats beside them")
        over = asyncio.Event()
        talking = asyncio.create_task(_chats(session, server, "Beside", over))
        figures += _of_batch("beside chats", lines, await _batch(session, server, home, lines, "beside"))
        over.set()
        return figures + _of_chats(alone, *await talking)


def _of_chats(alone: Sequence[float], beside: Sequence[float], step_s: float) -> list[Figure]:
    p50 = median(beside)
    return [
        Figure(_NAME, "first token of a chat alone: p50", median(alone) * 1000, "ms"),
        Figure(_NAME, "first token of a chat beside the batch: p50", p50 * 1000, "ms", spread=f"{len(beside)} chats"),
        Figure(_NAME, "first token of a chat beside the batch: p95", percentile(beside, 95) * 1000, "ms"),
        Figure(_NAME, "first token beside / alone: p50", p50 / median(alone)),
        Figure(_NAME, "a step beside the batch", step_s * 1000, "ms"),
        at_most(_NAME, "first token beside / (1.5 alone + a step): p50", p50 / (1.5 * median(alone) + step_s), 1),
    ]


async def _chats(
    session: aiohttp.ClientSession, server: Server, salt: str, over: asyncio.Event, *, at_most: int | None = None
) -> tuple[list[float], float]:
    """Chat until it is *over*; return the seconds to each first token, and those between two tokens."""
    first: list[float] = []
    between: list[float] = []
    for number in itertools.count():
        if over.is_set() or number == at_most:
            return first, median(between)
        answer = await chat(session, server, body("one", f"{salt} {number}", _CHAT_TOKENS))
        if answer.error is not None:
            message = f"a chat failed: {answer.error}"
            raise RuntimeError(message)
        first.append(answer.first_s)
        between.append(answer.between_s)
        if at_most is None:
            await asyncio.sleep(_PAUSE_S)
    raise AssertionError


async def _batch(session: aiohttp.ClientSession, server: Server, home: Path, lines: int, salt: str) -> tuple[float, int, int]:
    """Run a batch; return its seconds, its failed lines, and the loads meanwhile."""
    before = len(loads(home, _MODELS))
    form = aiohttp.FormData({"purpose": "batch"})
    form.add_field("file", "\n".join(_line(salt, number) for number in range(lines)).encode(), filename="lines.jsonl")
    async with session.post(f"{server.url}/v1/files", data=form) as answer:
        answer.raise_for_status()
        file_id = (await answer.json())["id"]
    asked = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    began = time.perf_counter()
    async with session.post(f"{server.url}/v1/batches", json=asked) as answer:
        answer.raise_for_status()
        batch: dict[str, Any] = await answer.json()
    while batch["status"] not in _FINAL:
        await asyncio.sleep(_LOOK_S)
        async with session.get(f"{server.url}/v1/batches/{batch['id']}") as answer:
            batch = await answer.json()
    return time.perf_counter() - began, lines - int(batch["request_counts"]["completed"]), len(loads(home, _MODELS)) - before


def _line(salt: str, number: int) -> str:
    asked = {"messages": [{"role": "user", "content": f"{salt} {number}: hello"}], "temperature": 0, "max_tokens": _TOKENS}
    facts = {"custom_id": f"{number}", "method": "POST", "url": "/v1/chat/completions"}
    return json.dumps({**facts, "body": {"model": _MODELS[number % len(_MODELS)], **asked}})


def _of_batch(how: str, lines: int, found: Sequence[float]) -> list[Figure]:
    seconds, failed, came = found
    return [
        Figure(_NAME, f"{lines} lines {how}: answered after", seconds, "s"),
        Figure(_NAME, f"{lines} lines {how}: lines a second", lines / seconds, "1/s"),
        at_most(_NAME, f"{lines} lines {how}: not answered", failed, 0, "lines"),
        at_most(_NAME, f"{lines} lines {how}: loads", came, 2 * len(_MODELS) + 1, "loads"),
    ]
