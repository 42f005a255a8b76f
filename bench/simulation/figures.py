"""What a replay is judged by, as a table for people and one for Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench.report import percentile
from bench.simulation.bound import lower_bound
from bench.simulation.machine import Machine, Trace

__all__ = ["Outcome", "Waits", "judge", "markdown", "print_outcomes"]


@dataclass(frozen=True, slots=True)
class Waits:
    """How long the jobs of one model waited for a slot, in seconds."""

    jobs: int
    p50_s: float
    p99_s: float
    worst_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one way did on one trace."""

    way: str
    loads: int
    makespan_s: float
    waits: dict[str, Waits]
    unserved: int


def judge(way: str, machine: Machine) -> Outcome:
    """Sum up a replay."""
    served = [job for job in machine.jobs if job.ended_at < math.inf]
    waits = {
        model: Waits(len(some), percentile(some, 50), percentile(some, 99), max(some))
        for model in machine.trace.models
        if (some := [job.wait_s for job in served if job.arrival.model == model])
    }
    makespan_s = max((job.ended_at for job in served), default=0.0)
    return Outcome(way, len(machine.stays), makespan_s, waits, len(machine.jobs) - len(served))


def print_outcomes(console: Console, trace: Trace, outcomes: Sequence[Outcome]) -> None:
    """Print one trace's table."""
    models = [model for model in trace.models if model in outcomes[0].waits]
    table = Table(title=trace.name, caption="waits: p50 / p99 / worst, s", title_justify="left", caption_justify="left")
    table.add_column("way")
    for column in ("loads", "makespan, s", *models):
        table.add_column(column, justify="right")
    for row in _rows(trace, outcomes, models):
        table.add_row(*row)
    console.print(table)


def markdown(judged: Sequence[tuple[Trace, Sequence[Outcome]]]) -> str:
    """Return all tables as one of Markdown: a row for each trace and way."""
    lines = ["| trace | way | loads | makespan, s | waits p50 / p99 / worst, s |", "|---|---|--:|--:|---|"]
    for trace, outcomes in judged:
        models = [model for model in trace.models if model in outcomes[0].waits]
        for number, (way, loads, makespan, *waits) in enumerate(_rows(trace, outcomes, models)):
            told = " · ".join(f"{model} {wait}" for model, wait in zip(models, waits, strict=True) if wait)
            lines.append(f"| {'' if number else trace.name} | {way} | {loads} | {makespan} | {told} |")
    return "\n".join(lines) + "\n"


def _rows(trace: Trace, outcomes: Sequence[Outcome], models: Sequence[str]) -> list[list[str]]:
    bound = lower_bound(trace)
    rows = []
    for one in outcomes:
        way = one.way + (f", {one.unserved} unserved" if one.unserved else "")
        rows.append([way, str(one.loads), f"{one.makespan_s:.1f}", *(_waits(one.waits.get(model)) for model in models)])
    return [*rows, ["bound", str(bound.loads), f"{bound.makespan_s:.1f}", *("" for _ in models)]]


def _waits(waits: Waits | None) -> str:
    return "" if waits is None else f"{waits.p50_s:.1f} / {waits.p99_s:.1f} / {waits.worst_s:.1f}"
