"""What the GPU thread keeps of each engine and each load, and what it tells of them."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.scheduler.breadcrumb import slice_name

if TYPE_CHECKING:
    from app.engines.protocols import Engine, Frontend, Loading
    from app.scheduler.books import Need

__all__ = ["EngineState", "LoadFacts", "PendingLoad", "SteppedEngine"]


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
    steps: Loading | None = None
    began_s: float = 0.0
    longest_slice_s: float = 0.0
    bytes_before: int = 0
