"""A replay as SVG: who was in memory when, and how long those who came then had to wait. Plain shapes, readable on light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from bench.simulation.machine import Machine

__all__ = ["draw"]

_LEFT, _WIDTH, _RIGHT = 84, 640, 24
_BAR, _ROW, _WAITS, _HEAD, _GAP, _FOOT = 10, 15, 44, 20, 12, 20
_COLOURS = ("#3b82c4", "#d9822b", "#3f9b5f", "#b05cc0", "#c94f5d")
_BUCKETS = 160
_STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#57606a}.t{font-weight:600}.l{fill-opacity:.35}.w{fill:none;stroke-width:1.4}"
    ".a{stroke:#8b949e;stroke-opacity:.5}@media(prefers-color-scheme:dark){text{fill:#aab4bf}}"
)


def draw(replays: Sequence[tuple[str, Machine]]) -> str:
    """Return the picture of one trace: a panel for each way, all to one scale of time and one of waits."""
    machines = [machine for _, machine in replays]
    asked = {job.arrival.model for machine in machines for job in machine.jobs}
    models = [name for name in machines[0].trace.models if name in asked]
    until_s = max((job.ended_at for machine in machines for job in machine.jobs if job.ended_at < math.inf), default=1.0)
    worst_s = max((job.wait_s for machine in machines for job in machine.jobs if job.started_at < math.inf), default=0.0) or 1.0
    panel = _HEAD + len(models) * _ROW + _WAITS + _GAP
    height = panel * len(replays) + _FOOT
    body: list[str] = []
    for number, (way, machine) in enumerate(replays):
        body += _panel(f"{way}: {len(machine.stays)} loads", machine, models, panel * number, until_s, worst_s)
    body += _axis(height, until_s)
    size = f'width="{_LEFT + _WIDTH + _RIGHT}" height="{height}" viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}"'
    name = escape(machines[0].trace.name)
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{name}</title><style>{_STYLE}</style>'
    return "\n".join([opening, *body, "</svg>"]) + "\n"


def _panel(title: str, machine: Machine, models: Sequence[str], top: int, until_s: float, worst_s: float) -> Iterator[str]:
    yield f'<text class="t" x="{_LEFT}" y="{top + 13}">{escape(title)}</text>'
    scale = _WIDTH / until_s
    floor = top + _HEAD + len(models) * _ROW + _WAITS
    for number, model in enumerate(models):
        colour, y = _COLOURS[number % len(_COLOURS)], top + _HEAD + number * _ROW
        yield f'<text x="{_LEFT - 6}" y="{y + 9}" text-anchor="end">{escape(model)}</text>'
        stays = [stay for stay in machine.stays if stay.model == model]
        loading = "".join(_bar(stay.load_at, min(stay.loaded_at, until_s), y, scale) for stay in stays)
        there = "".join(_bar(stay.loaded_at, min(stay.gone_at, until_s), y, scale) for stay in stays if stay.loaded_at < until_s)
        yield f'<path class="l" fill="{colour}" d="{loading}"/><path fill="{colour}" d="{there}"/>'
        yield f'<path class="w" stroke="{colour}" d="{_curve(machine, model, floor, scale, until_s, worst_s)}"/>'
    yield f'<path class="a" d="M{_LEFT} {floor}h{_WIDTH}"/>'
    yield f'<text x="{_LEFT - 6}" y="{floor}" text-anchor="end">0 s</text>'
    yield f'<text x="{_LEFT - 6}" y="{floor - _WAITS + 14}" text-anchor="end">wait {worst_s:.0f} s</text>'


def _bar(begin_s: float, end_s: float, y: int, scale: float) -> str:
    width = max(0.5, (end_s - begin_s) * scale)
    return f"M{_LEFT + begin_s * scale:.1f} {y}h{width:.1f}v{_BAR}h-{width:.1f}z"


def _curve(machine: Machine, model: str, floor: int, scale: float, until_s: float, worst_s: float) -> str:
    """Return the longest wait of those who came in each piece of the time."""
    longest: dict[int, float] = {}
    for job in machine.jobs:
        if job.arrival.model == model and job.started_at < math.inf:
            bucket = int(job.came_at / until_s * _BUCKETS)
            longest[bucket] = max(longest.get(bucket, 0.0), job.wait_s)
    points = [
        f"{_LEFT + bucket * until_s / _BUCKETS * scale:.0f} {floor - wait / worst_s * (_WAITS - 6):.1f}"
        for bucket, wait in sorted(longest.items())
    ]
    return ("M" + "L".join(points) + "h2") if points else ""


def _axis(height: int, until_s: float) -> Iterator[str]:
    step = next((step for step in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200) if until_s / step <= 8), 3600)
    for number in range(int(until_s / step) + 1):
        x = _LEFT + number * step / until_s * _WIDTH
        yield f'<path class="a" d="M{x:.1f} 16V{height - _FOOT}" stroke-dasharray="1 4"/>'
        yield f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle">{number * step} s</text>'
