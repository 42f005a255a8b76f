"""What the GPU thread keeps of each engine and each load, and what it tells of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.engines.protocols import MOST_PASSED
from app.errors import EngineFailed, InferenceError
from app.scheduler.breadcrumb import slice_name

if TYPE_CHECKING:
    from app.engines.protocols import Engine, Frontend, Loading, Work
    from app.scheduler.books import Need

__all__ = ["EngineState", "LoadFacts", "PendingLoad", "SteppedEngine", "failure_of", "gives_way"]


@dataclass(frozen=True, slots=True)
class LoadFacts:
    """What a load cost."""

    bytes: int
    seconds: float
    longest_slice_s: float  # of the GPU thread's time without a pause


@dataclass(frozen=True, slots=True)
class EngineState:
    """What an engine holds and lacks, as of its last slice."""

    held_bytes: int  # weights, its slice's work, and what its requests keep
    wanted_bytes: int = 0  # what must be free for the request at the head of its line, where waiting for others' ends cannot help
    wanted_at: float = 0.0  # seconds since the epoch
    most_slice_bytes: int = 0  # the most that a slice took beyond what was in memory before it


@dataclass(slots=True)
class SteppedEngine:
    """An engine in memory, and what its slices cost."""

    engine: Engine
    bytes: int
    need: Need
    slice_s: float = 0.0
    most_slice_bytes: int = 0  # beyond what was in memory before the slice
    work: dict[str, int] = field(default_factory=dict)  # how many slices each has had
    hurried: set[str] = field(default_factory=set)  # those that are not patient
    awaited: set[str] = field(default_factory=set)  # those of them of which nothing has come yet
    passed: int = 0  # rounds in which it gave way since its last slice

    def take(self, work: Work) -> None:
        """Give *work* to the engine. Raises what the engine does, and has not taken it then."""
        self.engine.add(work)
        self.work[work.id] = 0
        if not work.patient:
            self.hurried.add(work.id)
            self.awaited.add(work.id)

    def forget(self, work_id: str) -> None:
        """Note that *work_id* is over."""
        self.work.pop(work_id, None)
        self.hurried.discard(work_id)
        self.awaited.discard(work_id)

    @property
    def patient(self) -> bool:
        """Whether nobody waits for anything here."""
        return not self.hurried

    def is_awaited(self) -> bool:
        """Whether the next slice brings somebody closer to the first of an answer. What waits for room or for a slot does not."""
        if not self.awaited:
            return False
        try:
            return not self.awaited.isdisjoint(self.engine.stepping())
        except BaseException:  # noqa: BLE001 - native code may raise anything; its own slice tells of it
            return False

    def name_slice(self) -> list[str]:
        """Count the slice that comes next; return what a breadcrumb calls it, one name for each work that it touches."""
        stepping = self.engine.stepping()
        for work_id in stepping:
            self.work[work_id] = self.work.get(work_id, 0) + 1
        return [slice_name(work_id, self.work[work_id]) for work_id in stepping]


@dataclass(slots=True)
class PendingLoad:
    """A load that has begun or is next."""

    model: str
    frontend: Frontend
    wanted_by: str  # who is charged if this load kills the process
    need: Need
    done: Future[LoadFacts]
    asked: Callable[[], bool]  # whether somebody waits for it
    steps: Loading | None = None
    began_s: float = 0.0
    longest_slice_s: float = 0.0
    bytes_before: int = 0
    passed: int = 0  # rounds in which it gave way since its last slice
    paused_s: float = 0.0  # how long it gave way since it began
    paused_at: float = 0.0  # by time.perf_counter(); 0: it goes on

    @property
    def patient(self) -> bool:
        """Whether nobody waits for it."""
        return not self.asked()

    def pause(self, *, pauses: bool) -> None:
        """Note whether it gives way in this round, which is no time that it takes."""
        now = time.perf_counter()
        if pauses and not self.paused_at and self.steps is not None:
            self.paused_at = now
        elif not pauses and self.paused_at:
            self.paused_s, self.paused_at = self.paused_s + now - self.paused_at, 0.0


def gives_way(one: SteppedEngine | PendingLoad, residents: Iterable[SteppedEngine], *, may: bool) -> bool:
    """Return whether *one*, for which nobody waits, is left out of a round so that somebody sees the first of an answer sooner.

    Args:
        one: Whose slice is next.
        residents: All engines.
        may: Whether nobody waits for its end either.
    """
    way = may and one.patient and one.passed < MOST_PASSED and any(resident.is_awaited() for resident in residents)
    one.passed = one.passed + 1 if way else 0
    if isinstance(one, PendingLoad):
        one.pause(pauses=way)
    return way


def failure_of(model: str, error: BaseException) -> InferenceError:
    """Return what work fails with whose engine raised *error*."""
    return error if isinstance(error, InferenceError) else EngineFailed(f"The engine of {model} failed: {type(error).__name__}.")
