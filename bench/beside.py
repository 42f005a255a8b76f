"""What one client's embeddings feel of a load and of eight chats, and what the chats feel of them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp

from bench.chat_client import Answer, body, chat
from bench.homes import Server
from bench.report import Figure, at_least, at_most, median, percentile
from bench.worker_log import loads

if TYPE_CHECKING:
    from bench.__main__ import Bench

__all__ = ["figures"]

_NAME = "swaps"
_CHATS = 8
_TOKENS = 96
_ALONE = 100  # calls
_LEAST = 5  # calls, below which a percentile is none


class _Call(NamedTuple):
    """One embedding, by the wall clock, which the worker's log has too."""

    began_at: float
    took_s: float

    @property
    def ended_at(self) -> float:
        return self.began_at + self.took_s


class _Embeddings:
    """A client that sends its next text when it has the answer to the last."""

    def __init__(self, session: aiohttp.ClientSession, server: Server) -> None:
        self._session = session
        self._url = f"{server.url}/v1/embeddings"
        self._number = itertools.count()
        self.calls: list[_Call] = []

    async def once(self) -> None:
        text = f"Note {next(self._number)} of {time.time()}: which boats had passed the wall before the evening light."
        began_at, began_s = time.time(), time.perf_counter()
        async with self._session.post(self._url, json={"model": "embedding", "input": text}) as answer:
            answer.raise_for_status()
            await answer.read()
        self.calls.append(_Call(began_at, time.perf_counter() - began_s))

    async def beside(self, *others: asyncio.Task[Any]) -> None:
        """Go on for as long as one of *others* does."""
        while not all(other.done() for other in others):
            await self.once()

    def within(self, began_at: float, ended_at: float) -> list[float]:
        """Return how long the calls took that touched this span."""
        return [call.took_s for call in self.calls if call.ended_at > began_at and call.began_at < ended_at]


def figures(bench: Bench, server: Server, home: Path, models: Sequence[str]) -> list[Figure]:
    """Measure both; *models* are chat models of which one fits beside the embedding model."""
    return asyncio.run(_figures(server, home, models, turns=2 if bench.quick else 4))


async def _figures(server: Server, home: Path, models: Sequence[str], turns: int) -> list[Figure]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=600)) as session:
        embeddings = _Embeddings(session, server)
        for _ in range(10):
            await embeddings.once()
        embeddings.calls.clear()
        for _ in range(_ALONE):
            await embeddings.once()
        alone = [call.took_s for call in embeddings.calls]
        found = await _beside_loads(session, server, home, models, embeddings, turns)
        slice_s = median([load.longest_slice_s for load in loads(home, models)])
        return _of_loads(alone, found, slice_s) + await _beside_chats(session, server, models[0], embeddings, alone, turns)


async def _beside_loads(
    session: aiohttp.ClientSession, server: Server, home: Path, models: Sequence[str], embeddings: _Embeddings, turns: int
) -> list[float]:
    """Return how long embeddings took while a model was being loaded; each of *models* is asked for *turns* times, one after the other."""
    before = len(loads(home, models))
    for turn, model in itertools.product(range(turns), models):
        asked = asyncio.create_task(chat(session, server, body(model, f"Load {turn}", 1)))
        await embeddings.beside(asked)
    spans = loads(home, models)[before:]
    return [took_s for load in spans for took_s in embeddings.within(load.began_at, load.ended_at)]


def _of_loads(alone: Sequence[float], found: Sequence[float], slice_s: float) -> list[Figure]:
    p50 = percentile(found, 50) if len(found) >= _LEAST else float("nan")
    return [
        Figure(_NAME, "one embedding alone: p50", median(alone) * 1000, "ms"),
        Figure(_NAME, "one embedding while a model loads: p50", p50 * 1000, "ms", spread=f"{len(found)} calls"),
        Figure(_NAME, "one embedding while a model loads: p50 / alone", p50 / median(alone)),
        Figure(_NAME, "the longest slice of a load", slice_s * 1000, "ms"),
        at_most(_NAME, "one embedding while a model loads: p50 / (1.3 alone + a slice)", p50 / (1.3 * median(alone) + slice_s), 1),
        Figure(_NAME, "one embedding while a model loads: worst", max(found, default=float("nan")) * 1000, "ms"),
    ]


async def _beside_chats(
    session: aiohttp.ClientSession, server: Server, model: str, embeddings: _Embeddings, alone: Sequence[float], turns: int
) -> list[Figure]:
    """Return what embeddings and eight chats cost each other while all eight decode: after the last first token, before the first end."""
    steps: list[float] = []
    with_embeddings: list[float] = []
    found: list[float] = []
    for turn in range(turns):
        steps.append(median([answer.between_s for answer in await _chats(session, server, model, f"Alone {turn}")]))
        began_at = time.time()
        asked = asyncio.create_task(_chats(session, server, model, f"Beside {turn}"))
        await embeddings.beside(asked)
        answers = await asked
        with_embeddings.append(median([answer.between_s for answer in answers]))
        first_at, end_at = began_at + max(one.first_s for one in answers), began_at + min(one.whole_s for one in answers)
        found += [call.took_s for call in embeddings.calls if call.began_at > first_at and call.ended_at < end_at]
    step = median(steps)
    p50, p99 = (percentile(found, percent) for percent in (50, 99))
    kept = [one / other for one, other in zip(steps, with_embeddings, strict=True)]
    return [
        Figure(_NAME, f"a decoding step of {_CHATS} chats, alone", step * 1000, "ms"),
        Figure(_NAME, f"one embedding beside {_CHATS} chats: p50", p50 * 1000, "ms", spread=f"{len(found)} calls"),
        Figure(_NAME, f"one embedding beside {_CHATS} chats: p99", p99 * 1000, "ms"),
        at_most(_NAME, "p50 beside chats - p50 alone, in steps", (p50 - percentile(alone, 50)) / step, 1.2, "steps"),
        at_most(_NAME, "p99 beside chats - p99 alone, in steps", (p99 - percentile(alone, 99)) / step, 2, "steps"),
        at_least(_NAME, "tokens/s of the chats beside embeddings / alone", median(kept), 0.9, spread=f"{min(kept):.3g} to {max(kept):.3g}"),
    ]


async def _chats(session: aiohttp.ClientSession, server: Server, model: str, salt: str) -> list[Answer]:
    answers = await asyncio.gather(*(chat(session, server, body(model, f"{salt}.{one}", _TOKENS)) for one in range(_CHATS)))
    if errors := [answer.error for answer in answers if answer.error is not None]:
        message = f"a chat failed: {errors[0]}"
        raise RuntimeError(message)
    return list(answers)
