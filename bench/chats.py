"""Chats through the whole path, against the engine in-process and against the servers of mlx-lm and mlx-vlm, on one model.

All four are up during the whole section, and each round asks one after the
other, so that what the machine does besides hits all of them.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from bench.chat_client import DEFINITIONS, ask, body, together
from bench.engine_alone import EngineAlone, engine_alone
from bench.homes import Server, one_home, peer, stack, starter_models
from bench.report import Figure, at_least, at_most, median, ratio

if TYPE_CHECKING:
    from bench.__main__ import Bench

__all__ = ["NOTE", "run"]

_NAME = "chats"
NOTE = f"SmolLM2-135M, greedy, prompts that no cache has seen. {DEFINITIONS}"
_OURS = "whole path"
_ALONE = "engine alone"
_PEERS = ("mlx_lm.server", "mlx_vlm.server")
_STREAMS = (1, 8, 16, 32)
_TOKENS = 32

Rounds = dict[tuple[str, str], list[float]]  # (what, side) -> one value for each round


def run(bench: Bench) -> list[Figure]:
    """Measure first token and whole answer for one client, tokens/s and errors for many."""
    rounds, calls, streams = (1, 2, (1, 8)) if bench.quick else (3, 3, _STREAMS)
    found: Rounds = defaultdict(list)
    models = starter_models()
    smollm = models / "smollm2-135m-instruct"
    with contextlib.ExitStack() as held:
        home = held.enter_context(one_home(models))
        servers = [held.enter_context(stack(home))]
        servers += [held.enter_context(peer(module, home, smollm)) for module in ("mlx_lm", "mlx_vlm")]
        alone = held.enter_context(engine_alone(home))
        _round(-1, servers, alone, found, 1, (8,))  # each compiles its kernels once
        found.clear()
        for number in range(rounds):
            bench.say(f"round {number + 1} of {rounds}")
            _round(number, servers, alone, found, calls, streams)
    return _one_client(found) + [figure for count in streams for figure in _many(found, count)]


def _round(number: int, servers: list[Server], alone: EngineAlone, found: Rounds, calls: int, streams: tuple[int, ...]) -> None:
    one: Rounds = defaultdict(list)
    for call in range(calls):
        salt = f"Letter {number}.{call}"
        for server in servers:
            answer = ask(server, body(server.model, salt, _TOKENS))
            one["first", server.name].append(answer.first_s)
            one["whole", server.name].append(answer.whole_s)
            one["between", server.name].append(answer.between_s)
        inside = alone.together([body("chat", salt, _TOKENS)])
        one["first", _ALONE].append(inside["first_s"][0])
        one["whole", _ALONE].append(inside["whole_s"])
    for key, values in one.items():
        found[key].append(median(values))
    for count in streams:
        salts = [f"Story {number}.{count}.{stream}" for stream in range(count)]
        for server in servers:
            answers, seconds = together(server, [body(server.model, salt, _TOKENS) for salt in salts])
            good: list[Any] = [answer for answer in answers if answer.error is None]
            found[f"rate {count}", server.name].append(sum(answer.tokens for answer in good) / seconds)
            found[f"errors {count}", server.name].append(count - len(good))
        inside = alone.together([body("chat", salt, _TOKENS) for salt in salts])
        found[f"rate {count}", _ALONE].append(inside["tokens"] / inside["whole_s"])


def _one_client(found: Rounds) -> list[Figure]:
    figures = [
        Figure(_NAME, f"{words}, one client: {side}", median(found[what, side]) * 1000, "ms")
        for what, words in (("first", "first token"), ("whole", "whole answer"), ("between", "between tokens"))
        for side in (_OURS, *_PEERS, _ALONE)
        if found[what, side]
    ]
    for what, words in (("first", "first token"), ("whole", "whole answer")):
        faster = [min(pair) for pair in zip(*(found[what, side] for side in _PEERS), strict=True)]
        against, spread = ratio(found[what, _OURS], faster)
        if what == "first":
            figures.append(at_most(_NAME, f"{words}: whole path / faster server", against, 1.05, spread=spread))
        else:
            figures.append(Figure(_NAME, f"{words}: whole path / faster server", against, spread=spread))
        inside, spread = ratio(found[what, _OURS], found[what, _ALONE])
        figures.append(Figure(_NAME, f"{words}: whole path / engine alone", inside, spread=spread))
    return figures


def _many(found: Rounds, count: int) -> list[Figure]:
    rate, errors = f"rate {count}", f"errors {count}"
    figures = [Figure(_NAME, f"{count} streams: {side}", median(found[rate, side]), "tok/s") for side in (_OURS, *_PEERS, _ALONE)]
    inside, spread = ratio(found[rate, _OURS], found[rate, _ALONE])
    name = f"{count} streams: whole path / engine alone"
    figures.append(at_least(_NAME, name, inside, 0.85, spread=spread) if count >= 16 else Figure(_NAME, name, inside, spread=spread))
    better = [max(pair) for pair in zip(*(found[rate, side] for side in _PEERS), strict=True)]
    against, spread = ratio(found[rate, _OURS], better)
    figures.append(Figure(_NAME, f"{count} streams: whole path / better server", against, spread=spread))
    figures.append(at_most(_NAME, f"{count} streams, refused or broken: whole path", sum(found[errors, _OURS]), 0, "of all rounds"))
    figures += [Figure(_NAME, f"{count} streams, refused or broken: {side}", sum(found[errors, side]), "of all rounds") for side in _PEERS]
    return figures
