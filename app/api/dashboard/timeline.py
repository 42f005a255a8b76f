"""Which models were in memory, as bars on a line of time, and how much of the budget that took. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from app.jobs.memory_log import MemoryChange

__all__ = ["HEIGHT", "WIDTH", "WINDOW_S", "Bar", "Drawing", "Happening", "Lane", "Timeline"]

WINDOW_S = 900.0
WIDTH, HEIGHT = 1000, 100  # of a drawing, in its own units
_STEP_S = 5.0  # a drawing's right end moves on by so much: between two steps nothing that stays has to be drawn again
_ROOM = 1.1  # above the budget
_LANES = 12
_HAPPENINGS = 6
_SLIVER = 2.0  # units: what was shorter is still seen

Phase = Literal["loading", "resident"]


@dataclass(slots=True)
class _Span:
    worker: str
    model: str
    phase: Phase
    began: float
    bytes: int
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of time in which a model was loading or in memory."""

    x: float
    width: float
    phase: Phase
    began: float
    ended: float | None
    bytes: int


@dataclass(frozen=True, slots=True)
class Lane:
    """The bars of one model."""

    model: str
    bars: Sequence[Bar]
    phase: Phase | None  # what it is now
    bytes: int  # of memory, now or when it was there last


@dataclass(frozen=True, slots=True)
class Happening:
    """A model came or went."""

    at: float
    model: str
    what: Literal["loaded", "left", "not loaded", "worker began", "worker left"]
    seconds: float | None = None
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Drawing:
    """All of it at one moment."""

    lanes: Sequence[Lane]
    use: str  # points of the line of memory used, closed to an area
    used_bytes: int
    budget_bytes: int
    budget_y: float
    happenings: Sequence[Happening]  # newest first
    began: float  # epoch s at the left end
    ended: float  # and at the right one


@dataclass(slots=True)
class Timeline:
    """What is remembered of the window, fed with what the store says."""

    _spans: list[_Span] = field(default_factory=list)
    _open: dict[tuple[str, str], _Span] = field(default_factory=dict)  # by worker and model
    _memory: dict[str, tuple[int, int]] = field(default_factory=dict)  # by worker: used and budget
    _silent: dict[str, float] = field(default_factory=dict)  # workers that are not heard of, and since when
    _use: deque[tuple[float, int, int]] = field(default_factory=deque)
    _happenings: deque[Happening] = field(default_factory=lambda: deque(maxlen=_HAPPENINGS))

    def add(self, changes: Iterable[MemoryChange]) -> None:
        """Take in what has changed, oldest first."""
        for change in changes:
            self._take(change)
            self._note_use(change.at)

    def note_alive(self, alive: Collection[str], now: float) -> None:
        """Let what silent workers had end, as long as they are silent: a machine that slept wakes up again."""
        for worker in [worker for worker, since in self._silent.items() if since < now - WINDOW_S]:
            self._end_all(worker, self._silent[worker])
        silent = {worker: self._silent.get(worker, now) for worker in self._memory if worker not in alive}
        if silent != self._silent:
            self._silent = silent
            self._note_use(now)

    def draw(self, now: float) -> Drawing:
        """Draw the window that ends within a few seconds after *now*; what is there now goes on to its end."""
        ended = (now // _STEP_S + 1) * _STEP_S
        began = ended - WINDOW_S
        self._forget(began)
        used, budget = self._use[-1][1:] if self._use else (0, 0)
        top = max([budget, *(point[1] for point in self._use)], default=0) * _ROOM or 1.0
        lanes = self._lanes(began, ended)
        line = self._line(began, ended, top)
        return Drawing(lanes, line, used, budget, _y(budget, top), list(self._happenings)[::-1], began, ended)

    def _note_use(self, at: float) -> None:
        heard = [memory for worker, memory in self._memory.items() if worker not in self._silent]
        self._use.append((at, sum(used for used, _ in heard), sum(budget for _, budget in heard)))

    def _take(self, change: MemoryChange) -> None:
        worker, model, at = change.worker, change.model, change.at
        if change.what == "began":  # one at a time in a home: those before it are dead
            home = worker.partition("-")[0]
            for other in [other for other in self._memory if other != worker and other.partition("-")[0] == home]:
                self._end_all(other, at)
            if worker not in self._memory:
                self._happenings.append(Happening(at, "", "worker began"))
        elif change.what == "left":
            self._end_all(worker, at)
            self._happenings.append(Happening(at, "", "worker left"))
            return
        elif change.what == "gone":
            span = self._end(worker, model, at)
            if span is not None:
                self._happenings.append(Happening(at, model, "left" if span.phase == "resident" else "not loaded"))
        elif change.what != "used":
            self._come(worker, change, change.what)
        self._memory[worker] = (change.used_bytes, change.budget_bytes)

    def _come(self, worker: str, change: MemoryChange, phase: Phase) -> None:
        before = self._open.get((worker, change.model))
        if before is not None and before.phase == phase:
            before.bytes = change.bytes
            return
        self._end(worker, change.model, change.at)
        span = self._open[worker, change.model] = _Span(worker, change.model, phase, change.at, change.bytes)
        self._spans.append(span)
        if phase == "resident":
            seconds = change.at - before.began if before is not None else None
            self._happenings.append(Happening(change.at, change.model, "loaded", seconds, change.bytes))

    def _end(self, worker: str, model: str, at: float) -> _Span | None:
        span = self._open.pop((worker, model), None)
        if span is not None:
            span.ended = at
        return span

    def _end_all(self, worker: str, at: float) -> None:
        for model in [model for of, model in self._open if of == worker]:
            self._end(worker, model, at)
        self._memory.pop(worker, None)
        self._silent.pop(worker, None)

    def _forget(self, before: float) -> None:
        self._spans = [span for span in self._spans if span.ended is None or span.ended > before]
        while len(self._use) > 1 and self._use[1][0] < before:  # the one before the window says what was used at its beginning
            self._use.popleft()

    def _lanes(self, began: float, end: float) -> list[Lane]:
        by_model: dict[str, list[_Span]] = {}
        for span in self._spans:
            by_model.setdefault(span.model, []).append(span)
        lanes = []
        for model, spans in by_model.items():
            ends = [span.ended or self._silent.get(span.worker) for span in spans]
            last, over = next(((span, None) for span, ended in zip(spans, ends, strict=True) if ended is None), (spans[-1], ends[-1]))
            bars = [_bar(span, ended, began, end) for span, ended in zip(spans, ends, strict=True)]
            size = max(span.bytes for span in spans[-2:])
            lanes.append((over is None, over or last.began, Lane(model, bars, None if over else last.phase, size)))
        lanes.sort(key=lambda one: (not one[0], -one[1], one[2].model))
        return [lane for _, _, lane in lanes[:_LANES]]

    def _line(self, began: float, end: float, top: float) -> str:
        if not self._use:
            return ""
        points = [(0.0, float(HEIGHT))]
        height = _y(self._use[0][1], top) if self._use[0][0] <= began else float(HEIGHT)
        points.append((0.0, height))
        for at, used, _ in self._use:
            if at > began:
                points += [(_x(at, began), height), (_x(at, began), _y(used, top))]
                height = _y(used, top)
        points += [(_x(end, began), height), (_x(end, began), float(HEIGHT))]
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _x(at: float, began: float) -> float:
    return min(float(WIDTH), max(0.0, (at - began) / WINDOW_S * WIDTH))


def _y(size: float, top: float) -> float:
    return round(HEIGHT - size / top * HEIGHT, 1)


def _bar(span: _Span, ended: float | None, began: float, end: float) -> Bar:
    left, right = _x(span.began, began), _x(ended or end, began)
    return Bar(round(left, 1), round(max(_SLIVER, right - left), 1), span.phase, span.began, ended, span.bytes)
