"""Sees what the policy must know: a :class:`~app.scheduler.world.World` of this moment, and what belongs to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from app.errors import InferenceError, ModelNotDownloaded, ModelTooLarge, UnknownModel
from app.jobs.record import Lane
from app.models.hub import locate
from app.scheduler.books import Need
from app.scheduler.elsewhere import Stock
from app.scheduler.others import Asked
from app.scheduler.wishing import Wishing
from app.scheduler.world import Backlog, Block, Line, ModelFacts, Resident, World

if TYPE_CHECKING:
    from app.jobs.reading import QueueHead
    from app.models.catalog import Catalog
    from app.models.spec import ModelSpec
    from app.scheduler.budget import Pressure
    from app.scheduler.circuit import Circuits
    from app.scheduler.conductor import Gates
    from app.scheduler.elsewhere import Elsewhere
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
    misplaced: frozenset[str]  # models that others have to serve, and that somebody in this process waits for

    @property
    def resident(self) -> frozenset[str]:
        """The models in memory."""
        return frozenset(one.model for one in self.world.residents)


@dataclass(slots=True)
class _Found:
    """What one look finds of models."""

    models: dict[str, ModelFacts] = field(default_factory=dict)
    needs: dict[str, Need] = field(default_factory=dict)
    failed: dict[str, InferenceError] = field(default_factory=dict)  # whose load failed lately
    missing: set[str] = field(default_factory=set)  # whose files are waited for here
    left: set[str] = field(default_factory=set)  # that others are to serve


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
    can_fetch: Callable[[ModelSpec], bool]  # whether files are not here and may be downloaded
    fetch: Callable[[frozenset[str]], None]  # told which models' files are waited for here; the last word counts
    wishing: Wishing  # what users want of models
    elsewhere: Elsewhere  # what other workers have
    _clocks: tuple[float, float] = field(default_factory=lambda: (time.time(), time.monotonic()))
    _woke_at: float = 0.0

    def look(self) -> Sight:
        """Return what is to be seen now.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        backlogs = self._backlogs()
        self.wishing.look()
        if self.wishing.open:
            self.elsewhere.news()  # what the others had before it was said does not count
        specs = {spec.id: spec for spec in self.catalog()}
        self.elsewhere.look(lambda: self._stock(specs.values()))
        loading, leaving = self.residency.loading, self.residency.leaving()
        residents = self._residents(specs)
        here = {one.model for one in residents} | ({loading} if loading else set())
        hopeless = self._add_wanted(backlogs, here | leaving.keys(), specs)
        found = self._survey(specs.values(), here, backlogs)
        models, needs = found.models, found.needs
        self.fetch(frozenset(found.missing))
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
        too_large = {
            model: ModelTooLarge(model, need.load_bytes, self.budget_bytes)
            for model, need in needs.items()
            if need.load_bytes > self.budget_bytes
        }
        refusals = {model: error for model, error in too_large.items() if model not in found.left}
        self._settle_wishes({one.model for one in residents}, here | leaving.keys(), hopeless | too_large)
        weights = {held.model: held.bytes for held in self.residency.held()}
        means = {model: mean for model in models if (mean := self.residency.past(model).job_s) is not None}
        misplaced = frozenset(found.left & self.residency.waiting().keys() & self.elsewhere.unfit.keys())
        return Sight(world, specs, needs, weights, refusals, found.failed, means, self.residency.loading_since, misplaced)

    def _add_wanted(
        self, backlogs: dict[str, Backlog], here: AbstractSet[str], specs: Mapping[str, ModelSpec]
    ) -> dict[str, InferenceError]:
        """Add users' wishes to what waits, and return why some of them cannot be granted now. What others have is not waited for."""
        absent = self.wishing.wanted - here - self.elsewhere.resident
        hopeless = {model: error for model in absent if (error := self._cannot_come(model, specs)) is not None}
        self.wishing.ask(backlogs, {model: self.residency.past(model).left_at for model in absent - hopeless.keys()})
        return hopeless

    def _settle_wishes(self, resident: set[str], here: set[str], errors: Mapping[str, InferenceError]) -> None:
        """Note what became of users' wishes, of whichever worker; none is in vain while another may grant it."""
        real = {model: error for model, error in errors.items() if not self.elsewhere.may_grant(model)}
        self.wishing.settle(resident, here, self.elsewhere.began_at(), real)

    def _survey(self, specs: Iterable[ModelSpec], here: Collection[str], backlogs: Mapping[str, Backlog]) -> _Found:
        """Return what is known of the models that are here, asked for, or should always be here."""
        found = _Found()
        for spec in specs:
            backlog = backlogs.get(spec.id)
            if spec.id not in here and backlog is None and spec.residency != "always":
                continue
            circuit = self.circuits.find(spec.id)
            if circuit is not None:
                found.failed[spec.id] = circuit.error
            block = None if spec.id in here else self._leave(spec, backlog, broken=circuit is not None)
            if block is not None:
                found.left.add(spec.id)
            if block is not None or circuit is None:
                facts = self._facts(spec, found, block, asked=backlog is not None, here=spec.id in here)
                if facts is not None:
                    found.models[spec.id] = facts
        return found

    def _cannot_come(self, model: str, specs: Mapping[str, ModelSpec]) -> InferenceError | None:
        """Return why a model that a user wants in memory cannot be loaded now. Its files are not fetched for that."""
        if model not in specs:
            return UnknownModel(model)
        if (circuit := self.circuits.find(model)) is not None:
            return circuit.error
        return ModelNotDownloaded(model) if locate(specs[model], self.settings) is None else None

    def _stock(self, specs: Iterable[ModelSpec]) -> Stock:
        """Return what of the catalog could be loaded here, and what could be downloaded."""
        places = {spec: locate(spec, self.settings) for spec in specs}
        sound = {spec.id for spec in places if self.circuits.find(spec.id) is None and not self.deaths.condemns(spec.id)}
        return Stock(
            {spec.id: self.needs.of(spec, place).load_bytes for spec, place in places.items() if place is not None and spec.id in sound},
            frozenset(spec.id for spec, place in places.items() if place is None and self.can_fetch(spec)),
        )

    def _leave(self, spec: ModelSpec, backlog: Backlog | None, *, broken: bool) -> Block | None:
        """Return why a model that is not here is left to other workers; None: it is not."""
        if self.elsewhere.alone:
            return self.elsewhere.refused(spec.id)
        directory = locate(spec, self.settings)
        heads = [line.head_at for _, line in backlog.lines] if backlog is not None else []
        asked = Asked(
            spec.id,
            need_bytes=None if directory is None else self.needs.of(spec, directory).load_bytes,
            broken=broken,
            fetchable=directory is None and self.can_fetch(spec),
            head_at=min(heads, default=None),
            load_s=self.residency.past(spec.id).load_s,
            inside=spec.id in self.residency.waiting(),
        )
        return self.elsewhere.leave(asked)

    def _facts(self, spec: ModelSpec, found: _Found, blocked: Block | None, *, asked: bool, here: bool) -> ModelFacts | None:
        """Return the facts of a model; None of one that cannot be had: who asks for it is to be let through, and told why."""
        residency = spec.residency
        directory = locate(spec, self.settings)
        if directory is not None:
            found.needs[spec.id] = self.needs.of(spec, directory)
        elif asked and not here and blocked is None:
            if not self.can_fetch(spec):
                return None
            found.missing.add(spec.id)
            blocked = Block("downloading")
        need_bytes = found.needs.get(spec.id, Need()).load_bytes
        unwanted = self.wishing.unwanted(spec.id)
        if unwanted or (not here and (directory is None or self.deaths.suspects(spec.id))):
            residency = "on-demand"  # not loaded unasked
        past = self.residency.past(spec.id)
        idle_ttl_s = spec.idle_ttl.total_seconds() if past.keep_s is None else past.keep_s
        return ModelFacts(
            # What is left to others is not let through to fail here, however large it is.
            need_bytes=min(need_bytes, self.budget_bytes) if spec.id in found.left else need_bytes,
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
