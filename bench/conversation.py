"""The second turn of a 2,000-token conversation against its first: what the prefix cache is worth."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from bench.chat_client import ask, body
from bench.homes import one_home, stack, starter_models
from bench.report import Figure, at_most, median, ratio

if TYPE_CHECKING:
    from bench.__main__ import Bench

__all__ = ["NOTE", "run"]

_NAME = "conversation"
NOTE = "SmolLM2-135M. First token of a turn, by the client's clock; the second turn sends the first, its answer and a short question."
_WORDS = ("river", "stone", "window", "garden", "letter", "winter", "market", "candle", "mirror", "harbour", "village")  # fmt: skip


def run(bench: Bench) -> list[Figure]:
    """Measure some conversations, each of other words."""
    first: list[float] = []
    second: list[float] = []
    with one_home(starter_models()) as home, stack(home) as server:
        ask(server, body(server.model, "Warm", 8))
        for number in range(2 if bench.quick else 4):
            bench.say(f"conversation {number + 1}")
            words = random.Random(number)  # noqa: S311 - words of a prompt
            sentences = [f"On day {day} we saw a {words.choice(_WORDS)} and a {words.choice(_WORDS)} near the house." for day in range(130)]
            request = body(server.model, "x", 16) | {
                "messages": [{"role": "user", "content": " ".join(["Continue my diary.", *sentences])}]
            }
            answer = ask(server, request)
            if answer.error is not None:
                raise RuntimeError(answer.error)
            first.append(answer.first_s)
            said: list[dict[str, Any]] = [
                *request["messages"],
                {"role": "assistant", "content": "".join(answer.text)},
                {"role": "user", "content": "And then?"},
            ]
            second.append(ask(server, request | {"messages": said}).first_s)
    against, spread = ratio(second, first)
    return [
        Figure(_NAME, "first turn", median(first) * 1000, "ms"),
        Figure(_NAME, "second turn", median(second) * 1000, "ms"),
        at_most(_NAME, "second turn / first turn", against, 0.03, spread=spread),
    ]
