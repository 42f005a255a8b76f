"""A replay as SVG: who was in memory when, and how long those who came then had to wait. Plain shapes, readable on light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from bench.simulation.machine import Job, Machine

__all__ = ["draw"]

_LEFT, _WIDTH, _RIGHT = 84, 640, 24
_BAR, _ROW, _WAITS, _HEAD, _GAP, _FOOT = 10, 15, 44, 20, 12, 20
_COLOURS = ("#3b82c4", "#d9822b", "#3f9b5f", "#b05cc0", "#c94f5d")
_BUCKETS = 128  # pieces of time, for each of which the longest wait is drawn
_STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#57606a}.t{font-weight:600}.l{fill-opacity:.35}.w{fill:none;stroke-width:1.3}"
    ".a{stroke:#8b949e;stroke-opacity:.5}@media(prefers-color-scheme:dark){text{fill:#aab4bf}}"
)


def draw(replays: Sequence[tuple[str, Machine]]) -> str:
    """Return the picture of one trace: a panel for each way, all to one scale of time and one of waits."""
    machines = [machine for _, machine in replays]
    begun = [job for machine in machines for job in machine.jobs if job.started_at < math.inf]
    asked = {job.arrival.model for job in begun}
    frame = _Frame(
        [name for name in machines[0].trace.models if name in asked],
        until_s=max((job.ended_at for job in begun if job.ended_at < math.inf), default=1.0),
        worst_s=max((job.wait_s for job in begun), default=0.0) or 1.0,
    )
    panel = _HEAD + len(frame.models) * _ROW + _WAITS + _GAP
    height = panel * len(replays) + _FOOT
    body = [line for number, (way, machine) in enumerate(replays) for line in frame.panel(way, machine, panel * number)]
    size = f'width="{_LEFT + _WIDTH + _RIGHT}" height="{height}" viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{escape(machines[0].trace.name)}</title>'
    return "\n".join([opening, f"<style>{_STYLE}</style>", *body, *frame.axis(height), "</svg>"]) + "\n"


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the panels of a picture share."""

    models: Sequence[str]
    until_s: float
    worst_s: float

    def panel(self, way: str, machine: Machine, top: int) -> Iterator[str]:
        yield f'<text class="t" x="{_LEFT}" y="{top + 13}">{escape(way)}: {len(machine.stays)} loads</text>'
        floor = top + _HEAD + len(self.models) * _ROW + _WAITS
        for number, model in enumerate(self.models):
            colour, y = _COLOURS[number % len(_COLOURS)], top + _HEAD + number * _ROW
            yield f'<text x="{_LEFT - 6}" y="{y + 9}" text-anchor="end">{escape(model)}</text>'
            stays = [stay for stay in machine.stays if stay.model == model]
            loading = "".join(self._bar(stay.load_at, stay.loaded_at, y) for stay in stays)
            there = "".join(self._bar(stay.loaded_at, min(stay.gone_at, machine.now), y) for stay in stays)
            yield f'<path class="l" fill="{colour}" d="{loading}"/><path fill="{colour}" d="{there}"/>'
            jobs = [job for job in machine.jobs if job.arrival.model == model and job.started_at < math.inf]
            yield f'<path class="w" stroke="{colour}" d="{self._stems(jobs, number, floor)}"/>'
        yield f'<path class="a" d="M{_LEFT} {floor}h{_WIDTH}"/>'
        yield f'<text x="{_LEFT - 6}" y="{floor}" text-anchor="end">0 s</text>'
        yield f'<text x="{_LEFT - 6}" y="{floor - _WAITS + 14}" text-anchor="end">wait {self.worst_s:.1f} s</text>'

    def axis(self, height: int) -> Iterator[str]:
        step = next((step for step in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200) if self.until_s / step <= 8), 3600)
        for instant in range(0, int(self.until_s) + 1, step):
            x = self._x(instant)
            yield f'<path class="a" d="M{x:.1f} 16V{height - _FOOT}" stroke-dasharray="1 4"/>'
            yield f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle">{instant} s</text>'

    def _x(self, instant_s: float) -> float:
        return _LEFT + min(instant_s, self.until_s) / self.until_s * _WIDTH

    def _bar(self, begin_s: float, end_s: float, y: int) -> str:
        width = max(0.5, self._x(end_s) - self._x(begin_s))
        return f"M{self._x(begin_s):.1f} {y}h{width:.1f}v{_BAR}h-{width:.1f}z"

    def _stems(self, jobs: Sequence[Job], number: int, floor: int) -> str:
        longest: dict[int, float] = {}
        for job in jobs:
            bucket = int(job.came_at / self.until_s * _BUCKETS)
            longest[bucket] = max(longest.get(bucket, 0.0), job.wait_s)
        aside = (number + 1) / (len(self.models) + 1)  # so that the models of one piece stand side by side
        heights = {bucket: wait_s / self.worst_s * (_WAITS - 6) for bucket, wait_s in longest.items()}
        stems = [(self._x((bucket + aside) / _BUCKETS * self.until_s), tall) for bucket, tall in sorted(heights.items())]
        return "".join(f"M{x:.1f} {floor}v-{tall:.1f}" for x, tall in stems if tall >= 0.1)
