"""The traces: what comes when, on which machine. The same seeds give the same traces.

Sizes and times are round figures for a 16 GB machine (budget about 11 GB, a
14B model at 4 bits, a swap of 2 to 10 s for 4 to 27 GB); what is compared is
ways to share a machine, not machines.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from app.jobs.record import Lane
from bench.simulation.machine import Arrival, SimModel, Trace

__all__ = ["traces"]

_MB = 1_000_000

_HOME = {
    "embedding": SimModel(500 * _MB, 0.5, slots=32, batch_cost=0.1, residency="always"),
    "asr": SimModel(2400 * _MB, 2.0, slots=4, batch_cost=0.5, residency="always"),
    "chat": SimModel(9000 * _MB, 5.0),
    "ocr": SimModel(1200 * _MB, 1.5, slots=4),
    "tts": SimModel(2300 * _MB, 2.0, slots=2, batch_cost=0.5, idle_ttl_s=300.0),
}
_HOME_BUDGET = 11_000 * _MB
# Three of which one fits: as in the bench on real weights, 580 MB each.
_THREE = dict.fromkeys(("a", "b", "c"), SimModel(580 * _MB, 0.4))
_THREE_BUDGET = 700 * _MB


def traces() -> list[Trace]:
    """Return every trace."""
    return [make() for make in (_mix, _bursts, _abab, _abcabc, _three, _steady, _storm, _beside, _recordings)]


def _mix() -> Trace:
    draw = _seeded("mix")
    arrivals = [
        *_poisson(draw, 20.0, lambda at: Arrival(at, "chat", draw.uniform(1.0, 6.0))),
        *_poisson(draw, 4.0, lambda at: Arrival(at, "embedding", 0.03)),
        *_poisson(draw, 75.0, lambda at: Arrival(at, "ocr", draw.uniform(1.0, 3.0))),
        *_poisson(draw, 100.0, lambda at: Arrival(at, "tts", draw.uniform(2.0, 4.0))),
        *_poisson(draw, 60.0, lambda at: Arrival(at, "asr", draw.uniform(2.0, 6.0), Lane.BATCH)),
    ]
    return Trace("mix", _HOME, _HOME_BUDGET, arrivals)


def _bursts() -> Trace:
    draw = _seeded("bursts")
    arrivals = [
        Arrival(burst * 8.0 + number * 0.02, model, draw.uniform(0.2, 1.0))
        for burst in range(12)
        for model in draw.sample("abc", 2)
        for number in range(6)
    ]
    return Trace("bursts", _THREE, _THREE_BUDGET, arrivals)


def _abab() -> Trace:
    return Trace("abab", _THREE, _THREE_BUDGET, [Arrival(0.0, "ab"[number % 2], 0.2) for number in range(40)])


def _abcabc() -> Trace:
    return Trace("abcabc", _THREE, _THREE_BUDGET, [Arrival(number * 0.05, "abc"[number % 3], 0.2) for number in range(60)])


def _three() -> Trace:
    draw = _seeded("three")
    return Trace("three", _THREE, _THREE_BUDGET, [Arrival(number * 0.05, draw.choice("abc"), 0.2) for number in range(60)])


def _steady() -> Trace:
    """One model that never pauses, and now and then a request for another: what the bound on waiting is for."""
    busy = [Arrival(number * 1.0, "a", 4.0) for number in range(300)]
    rare = [Arrival(20.0 + number * 90.0, "b", 1.0) for number in range(3)]
    return Trace("steady", _THREE, _THREE_BUDGET, [*busy, *rare])


def _storm() -> Trace:
    draw = _seeded("storm")
    storm = [Arrival(10.0 + number * 0.02, "embedding", 0.03) for number in range(500)]
    chats = [Arrival(at, "chat", draw.uniform(2.0, 6.0)) for at in (0.0, 5.0, 9.0, 11.0, 12.0, 14.0, 16.0, 18.0)]
    return Trace("storm", _HOME, _HOME_BUDGET, [*storm, *chats])


def _beside() -> Trace:
    draw = _seeded("beside")
    files = [Arrival(0.0, "asr", draw.uniform(3.0, 6.0), Lane.BATCH) for _ in range(80)]
    return Trace(
        "beside", _HOME, _HOME_BUDGET, [*files, *_poisson(draw, 25.0, lambda at: Arrival(at, "chat", draw.uniform(1.0, 5.0)), 300.0)]
    )


def _recordings() -> Trace:
    """Twenty recordings in six chunks each; when a recording is heard, an LLM corrects it in two pieces."""
    draw = _seeded("recordings")
    names = [f"recording {number}" for number in range(20)]
    chunks = [Arrival(0.0, "asr", draw.uniform(3.0, 6.0), Lane.BATCH, group=name) for name in names for _ in range(6)]
    corrections = {name: [Arrival(0.0, "chat", draw.uniform(5.0, 9.0), Lane.BATCH) for _ in range(2)] for name in names}
    return Trace("recordings", _HOME, _HOME_BUDGET, chunks, corrections)


def _seeded(name: str) -> random.Random:
    return random.Random(name)  # noqa: S311 - a trace, not a secret


def _poisson(draw: random.Random, mean_s: float, make: Callable[[float], Arrival], until_s: float = 600.0) -> Iterator[Arrival]:
    at = draw.expovariate(1 / mean_s)
    while at < until_s:
        yield make(at)
        at += draw.expovariate(1 / mean_s)
