"""What the scheduling policy is told: residents, backlogs, facts of models, and the clock's hand, as plain values.

A :class:`World` is taken at one instant by whoever carries out plans. Times
are seconds since the epoch, sizes are bytes. Nothing here decides, and
nothing here reads a clock, a store or a device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from app.jobs.record import Lane

__all__ = ["Backlog", "Block", "Line", "ModelFacts", "Resident", "World"]


@dataclass(frozen=True, slots=True)
class Line:
    """Jobs that wait for the same thing."""

    count: int = 0
    head_at: float = 0.0  # epoch s at which the oldest of them began to wait


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for one model."""

    interactive: Line = Line()
    batch: Line = Line()
    waiting: Line = Line()  # in this process already, and without the model: quarantined jobs; somebody waits for them

    @property
    def asked(self) -> int:
        """Jobs that are treated as interactive."""
        return self.interactive.count + self.waiting.count

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self.asked and not self.batch.count

    @property
    def lines(self) -> tuple[tuple[Lane, Line], ...]:
        """Each line that has a head, with the lane whose bound on waiting holds for it."""
        every = ((Lane.INTERACTIVE, self.interactive), (Lane.INTERACTIVE, self.waiting), (Lane.BATCH, self.batch))
        return tuple((lane, line) for lane, line in every if line.count > 0)


@dataclass(frozen=True, slots=True)
class Block:
    """Why a model must not be loaded now, such as ``circuit_open`` or ``downloading``."""

    reason: str
    until: float | None = None  # epoch s; None: until somebody says otherwise


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model whether it is resident or not. What is not given here makes it leave as soon as nothing uses it."""

    need_bytes: int = 0  # free bytes that a load needs: weights, activations, one request's KV
    residency: Literal["always", "on-demand"] = "on-demand"
    idle_ttl_s: float = 0.0
    slots: int = 1  # requests that its engine runs at once
    load_s: float = 0.0  # estimate; 0: unknown
    blocked: Block | None = None
    last_turn_at: float = 0.0  # epoch s at which it last left memory; 0: it has not been here


@dataclass(frozen=True, slots=True)
class Resident:
    """A model in memory. A lease is a job that was fetched and has not ended."""

    model: str
    bytes: int  # measured: all that goes with it
    interactive_leases: int = 0
    batch_leases: int = 0
    last_used: float = 0.0  # epoch s at which its last lease ended
    loaded_at: float = 0.0  # epoch s
    served: int = 0  # leases since its load, ended or not
    wanted_bytes: int = 0  # KV that the request at the head of its engine's line could not get
    wanted_at: float = 0.0  # epoch s since which it could not
    pinned_until: float | None = None  # epoch s; inf: until it is unpinned

    @property
    def leases(self) -> int:
        """Jobs that hold it."""
        return self.interactive_leases + self.batch_leases

    @property
    def idle_since(self) -> float:
        """Epoch s since which it is idle, provided that it is."""
        return max(self.last_used, self.loaded_at)


@dataclass(frozen=True, slots=True)
class World:
    """All that a plan depends on."""

    models: Mapping[str, ModelFacts]
    budget_bytes: int
    now: float
    residents: Sequence[Resident] = ()
    backlogs: Mapping[str, Backlog] = field(default_factory=dict)
    loading: str | None = None  # its need_bytes are reserved
    leaving: Mapping[str, int] = field(default_factory=dict)  # bytes of models that were unloaded and are not measured gone
    max_wait_s: float = 60.0  # interactive; a head that waited longer is overdue
    batch_max_wait_s: float = 1800.0
    woke_at: float = 0.0  # epoch s at which the machine last woke: nobody has waited since before that
    admission: bool = True  # False: the machine is short of memory, so nothing new begins
    taken_bytes: int = 0  # of those that nobody of ours holds: other programs have them, or are to keep them
    batch_waits: str = ""  # why no batch work begins, in a word; empty: it may

    def facts(self, model: str) -> ModelFacts:
        """Return what is known of *model*; of one that the catalog lost: that it may leave."""
        return self.models.get(model, ModelFacts())

    def backlog(self, model: str) -> Backlog:
        """Return what waits for *model* and may begin."""
        found = self.backlogs.get(model, Backlog())
        return replace(found, batch=Line()) if self.batch_waits else found

    @property
    def free_bytes(self) -> int:
        """Bytes that nobody holds and no load has reserved; negative when more was measured than promised."""
        reserved = 0 if self.loading is None else self.facts(self.loading).need_bytes
        return self.budget_bytes - reserved - sum(one.bytes for one in self.residents) - sum(self.leaving.values())

    @property
    def room_bytes(self) -> int:
        """Bytes that a load may have now."""
        return self.free_bytes - self.taken_bytes

    @property
    def here(self) -> frozenset[str]:
        """Models that are in memory, on their way in, or on their way out: they cannot be loaded."""
        return frozenset({*(one.model for one in self.residents), *filter(None, (self.loading,)), *self.leaving})

    def since(self, head_at: float) -> float:
        """Return the epoch s from which a head's wait counts: sleep of the machine is not waiting."""
        return max(head_at, self.woke_at)

    def overdue_at(self, lane: Lane, head_at: float) -> float:
        """Return the epoch s at which a head becomes overdue."""
        return self.since(head_at) + (self.max_wait_s if lane is Lane.INTERACTIVE else self.batch_max_wait_s)

    def overdue(self, lane: Lane, head_at: float) -> bool:
        """Whether a head has waited as long as its lane may have it wait."""
        return self.now >= self.overdue_at(lane, head_at)

    def pinned(self, resident: Resident) -> bool:
        """Whether a user asked that it stays."""
        return resident.pinned_until is not None and self.now < resident.pinned_until

    def idle(self, resident: Resident) -> bool:
        """Whether nothing uses it and nothing waits for it."""
        return not resident.leases and not resident.wanted_bytes and self.backlog(resident.model).empty

    def had_its_turn(self, resident: Resident) -> bool:
        """Whether it served one batch since its load: its slots once over, or all there was."""
        return resident.served >= self.facts(resident.model).slots or self.backlog(resident.model).empty

    def blocked(self, model: str) -> Block | None:
        """Return why *model* must not be loaded now, or None."""
        block = self.facts(model).blocked
        return None if block is None or (block.until is not None and self.now >= block.until) else block
