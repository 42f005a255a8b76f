"""Sees what the policy must know: a :class:`~app.scheduler.world.World` of this moment, and what belongs to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from app.errors import InferenceError, ModelNotDownloaded, ModelTooLarge, UnknownModel
from app.jobs.record import Lane
from app.models.hub import locate
from app.scheduler.books import Need
from app.scheduler.wishing import Wishing
from app.scheduler.world import Backlog, Block, Line, ModelFacts, Resident, World

if TYPE_CHECKING:
    from app.jobs.reading import QueueHead
    from app.models.catalog import Catalog
    from app.models.spec import ModelSpec
    from app.scheduler.budget import Pressure
    from app.scheduler.circuit import Circuits
    from app.scheduler.conductor import Gates
    from app.scheduler.gpu import GpuThread
    from app.scheduler.load_deaths import LoadDeaths
    from app.scheduler.needs import Needs
    from app.scheduler.residency import Residency
    from app.settings import Settings

__all__ = ["DEFAULT_SLOTS", "Lookout", "Sight"]

DEFAULT_SLOTS = 16
_SLEPT_S = 10.0  # by so much more the wall clock went on than the process: the machine slept


@dataclass(frozen=True, slots=True)
class Sight:
    """A world, and what is needed to carry out a plan for it."""

    world: World
    specs: Mapping[str, ModelSpec]
    needs: Mapping[str, Need]
    weights: Mapping[str, int]  # bytes of what is in memory
    refusals: Mapping[str, InferenceError]  # models that can never come, and why
    failed: Mapping[str, InferenceError]  # models whose load failed lately, and how
    job_s: Mapping[str, float]  # mean seconds of the last jobs, of models that have ended any
    loading_since: float  # epoch s

    @property
    def resident(self) -> frozenset[str]:
        """The models in memory."""
        return frozenset(one.model for one in self.world.residents)


@dataclass(slots=True)
class Lookout:
    """Looks. For one thread."""

    settings: Settings  # say how long heads may wait
    catalog: Callable[[], Catalog]  # the models of this moment
    gates: Gates  # the queues
    residency: Residency  # what is in memory
    gpu: GpuThread  # what engines hold and lack
    needs: Needs  # what models take
    budget_bytes: int  # what they may take together
    circuits: Circuits  # which failed to load lately
    deaths: LoadDeaths  # which loads killed a worker lately
    pressure: Pressure  # what other programs leave of the memory
    batch_waits: Callable[[], str]  # why no batch work begins just now, in a word
    must_fetch: Callable[[ModelSpec], bool]  # whether files have to be downloaded first; if so, that is seen to
    wishing: Wishing  # what users want of models
    _clocks: tuple[float, float] = field(default_factory=lambda: (time.time(), time.monotonic()))
    _woke_at: float = 0.0

    def look(self) -> Sight:
        """Return what is to be seen now.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        backlogs = self._backlogs()
        self.wishing.look()
        loading, leaving = self.residency.loading, self.residency.leaving()
        specs = {spec.id: spec for spec in self.catalog()}
        residents = self._residents(specs)
        here = {one.model for one in residents} | ({loading} if loading else set())
        absent = self.wishing.wanted - here - leaving.keys()
        hopeless = {model: error for model in absent if (error := self._cannot_come(model, specs)) is not None}
        self.wishing.ask(backlogs, {model: self.residency.past(model).left_at for model in absent - hopeless.keys()})
        wanted = {spec for spec in specs.values() if spec.id in here or spec.id in backlogs or spec.residency == "always"}
        failed = {spec.id: circuit.error for spec in wanted if (circuit := self.circuits.find(spec.id)) is not None}
        needs: dict[str, Need] = {}
        models: dict[str, ModelFacts] = {}
        for spec in wanted - {specs[model] for model in failed}:
            facts = self._facts(spec, needs, asked=spec.id in backlogs, here=spec.id in here)
            if facts is not None:
                models[spec.id] = facts
        world = World(
            models=models,
            budget_bytes=self.budget_bytes,
            now=time.time(),
            residents=residents,
            backlogs=backlogs,
            loading=loading if loading in models else None,
            leaving=leaving,
            max_wait_s=self.settings.max_wait.total_seconds(),
            batch_max_wait_s=self.settings.batch_max_wait.total_seconds(),
            woke_at=self._notice_sleep(),
            admission=not self.pressure.short,
            batch_waits=self.batch_waits(),
        )
        world = replace(world, taken_bytes=self.pressure.taken_bytes(world.free_bytes))
        too_large = {model: ModelTooLarge(model, one.load_bytes, self.budget_bytes) for model, one in needs.items() if self._exceeds(one)}
        self.wishing.settle({one.model for one in residents}, here | leaving.keys(), hopeless | too_large)
        weights = {held.model: held.bytes for held in self.residency.held()}
        means = {model: mean for model in models if (mean := self.residency.past(model).job_s) is not None}
        return Sight(world, specs, needs, weights, too_large, failed, means, self.residency.loading_since)

    def _exceeds(self, need: Need) -> bool:
        return need.load_bytes > self.budget_bytes

    def _cannot_come(self, model: str, specs: Mapping[str, ModelSpec]) -> InferenceError | None:
        """Return why a model that a user wants in memory cannot be loaded now. Its files are not fetched for that."""
        if model not in specs:
            return UnknownModel(model)
        if (circuit := self.circuits.find(model)) is not None:
            return circuit.error
        return ModelNotDownloaded(model) if locate(specs[model], self.settings) is None else None

    def _facts(self, spec: ModelSpec, needs: dict[str, Need], *, asked: bool, here: bool) -> ModelFacts | None:
        """Return the facts of a model; None of one that cannot be had: who asks for it is to be let through, and told why."""
        blocked, residency = None, spec.residency
        directory = locate(spec, self.settings)
        if directory is not None:
            needs[spec.id] = self.needs.of(spec, directory)
        elif asked and not here:
            if not self.must_fetch(spec):
                return None
            blocked = Block("downloading")
        unwanted = self.wishing.unwanted(spec.id)
        if unwanted or (not here and (directory is None or self.deaths.suspects(spec.id))):
            residency = "on-demand"  # not loaded unasked
        past = self.residency.past(spec.id)
        idle_ttl_s = spec.idle_ttl.total_seconds() if past.keep_s is None else past.keep_s
        return ModelFacts(
            need_bytes=needs.get(spec.id, Need()).load_bytes,
            residency=residency,
            idle_ttl_s=0.0 if unwanted else idle_ttl_s,
            slots=spec.slots or DEFAULT_SLOTS,
            load_s=past.load_s,
            blocked=blocked,
            last_turn_at=past.left_at,
        )

    def _residents(self, specs: Mapping[str, ModelSpec]) -> list[Resident]:
        states = self.gpu.states()
        found = []
        for held in self.residency.held():
            state = states.get(held.model)
            if state is not None and not held.leases:
                self.needs.saw(held.model, held.bytes, state.most_slice_bytes)
            said = specs[held.model].memory if held.model in specs else None
            interactive, batch = (self.gates.fetched(held.model, lane) for lane in (Lane.INTERACTIVE, Lane.BATCH))
            found.append(
                Resident(
                    held.model,
                    max(held.bytes, state.held_bytes if state else 0, said or 0),
                    # Quarantined jobs have a lease and come from another queue.
                    interactive_leases=max(interactive, held.leases - batch),
                    batch_leases=batch,
                    last_used=held.last_used,
                    loaded_at=held.loaded_at,
                    served=held.served,
                    wanted_bytes=state.wanted_bytes if state else 0,
                    wanted_at=state.wanted_at if state else 0.0,
                    pinned_until=self.wishing.pinned_until(held.model, held.pinned_until),
                )
            )
        return found

    def _backlogs(self) -> dict[str, Backlog]:
        now = time.time()
        queued, waiting = self.gates.backlog(), self.residency.waiting()
        found: dict[str, Backlog] = {}
        for model in {*queued, *waiting}:
            lanes: Mapping[Lane, QueueHead] = queued.get(model, {})
            lines = [
                Line(head.length, now - head.waited_s) if (head := lanes.get(lane)) else Line() for lane in (Lane.INTERACTIVE, Lane.BATCH)
            ]
            inside = waiting.get(model)
            found[model] = Backlog(lines[0], lines[1], Line(inside.count, inside.since) if inside else Line())
        return found

    def _notice_sleep(self) -> float:
        """Return when the machine last woke: its wall clock went on and this process's did not."""
        before, self._clocks = self._clocks, (time.time(), time.monotonic())
        if (self._clocks[0] - before[0]) - (self._clocks[1] - before[1]) > _SLEPT_S:
            self._woke_at = self._clocks[0]
        return self._woke_at
