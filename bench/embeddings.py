"""Embeddings: one client, 64 clients with a text each, and one batch of 256, all through the whole path."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import aiohttp

from bench.homes import Server, one_home, stack, starter_models
from bench.report import Figure, at_least, median, ratio

if TYPE_CHECKING:
    from bench.__main__ import Bench

__all__ = ["NOTE", "run"]

_NAME = "embeddings"
NOTE = "all-MiniLM-L6-v2, texts of about 20 words. Each of the 64 clients sends its next text when it has the answer to the last."
_TEXTS = 256
_CLIENTS = 64


def run(bench: Bench) -> list[Figure]:
    """Measure texts/s of the three."""
    found: dict[str, list[float]] = {"one": [], "many": [], "batch": []}
    with one_home(starter_models()) as home, stack(home) as server:
        asyncio.run(_send(server, _texts(-1, 64), clients=8))
        for number in range(2 if bench.quick else 6):
            bench.say(f"round {number + 1}")
            texts = _texts(number, _TEXTS)
            found["one"].append(asyncio.run(_send(server, texts[:24], clients=1)))
            found["batch"].append(asyncio.run(_send_batch(server, texts)))
            found["many"].append(asyncio.run(_send(server, texts, clients=_CLIENTS)))
    many, spread = ratio(found["many"], found["batch"])
    one, spread_one = ratio(found["one"], found["batch"])
    return [
        Figure(_NAME, "one client", median(found["one"]), "texts/s"),
        Figure(_NAME, "64 clients, one text each", median(found["many"]), "texts/s"),
        Figure(_NAME, "one batch of 256", median(found["batch"]), "texts/s"),
        Figure(_NAME, "one client / batch", one, spread=spread_one),
        at_least(_NAME, "64 clients / batch", many, 0.7, spread=spread),
    ]


def _texts(number: int, count: int) -> list[str]:
    words = [
        f"harbour {number} keeper",
        "wrote",
        "down",
        "which",
        "boats",
        "had",
        "passed",
        "the",
        "wall",
        "before",
        "the",
        "evening",
        "light",
    ]
    return [f"Note {number}.{text}: {' '.join(words[text % 7 :])} {text * 37}" for text in range(count)]


async def _post(session: aiohttp.ClientSession, server: Server, texts: list[str] | str) -> None:
    async with session.post(f"{server.url}/v1/embeddings", json={"model": "embedding", "input": texts}) as answer:
        answer.raise_for_status()
        await answer.read()


async def _send(server: Server, texts: list[str], *, clients: int) -> float:
    """Return texts/s of *clients* that share *texts*."""
    left = iter(texts)

    async def client(session: aiohttp.ClientSession) -> None:
        for text in left:
            await _post(session, server, text)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        began = time.perf_counter()
        await asyncio.gather(*(client(session) for _ in range(clients)))
        return len(texts) / (time.perf_counter() - began)


async def _send_batch(server: Server, texts: list[str]) -> float:
    async with aiohttp.ClientSession() as session:
        began = time.perf_counter()
        await _post(session, server, texts)
        return len(texts) / (time.perf_counter() - began)
