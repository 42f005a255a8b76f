"""Carries out the policy: looks at what waits and what is in memory, asks :mod:`app.scheduler.policy`, and does what it says.

One thread, asleep until something happens that may change the plan (a message
for a closed queue, an acknowledgement, the end of a load) or until the moment
that the plan itself names. A plan is carried out in the order that keeps
memory safe: gates close, models leave, a load begins, gates open.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from app.errors import StoreUnavailable
from app.jobs.decoding import ModelState
from app.jobs.record import Lane
from app.log import get_logger
from app.scheduler.forecast import Forecast
from app.scheduler.plans import Plan
from app.scheduler.policy import plan
from app.scheduler.sentences import waiting_state

if TYPE_CHECKING:
    from app.jobs.reading import QueueHead
    from app.jobs.wishes import Wish
    from app.scheduler.lookout import Lookout, Sight
    from app.scheduler.residency import Residency
    from app.scheduler.world import World

__all__ = ["Audience", "Conductor", "Gates"]

log = get_logger("worker.conductor")

_LOOK_EVERY_S = 5.0  # whatever was missed is found then
_PAUSE_S = 0.005  # between two looks: many acknowledgements are one reason to look
_RETRY_S = 0.5
_STEP_BYTES = 10**7  # smaller changes of what is used are not told
_COARSE_STEP_BYTES = 10**8  # likewise of what other programs have, which never stands still


class Gates(Protocol):
    """The queues, as the conductor sees them."""

    def set_limit(self, model: str, lane: Lane, limit: int) -> None:
        """Let at most *limit* messages of a queue be in this process; once this returns with 0, nothing more is fetched."""
        ...

    def fetched(self, model: str, lane: Lane) -> int:
        """Return how many messages of a queue are in this process."""
        ...

    def backlog(self) -> Mapping[str, Mapping[Lane, QueueHead]]:
        """Return what waits in Redis, by model and lane."""
        ...

    def wishes(self) -> Mapping[str, Wish]:
        """Return what users want of models."""
        ...

    def settle(self, model: str, wish: Wish, new: Wish | None) -> None:
        """Note what became of a wish, None: it is granted, or void; nothing where there is another one by now."""
        ...


class Audience(Protocol):
    """Who is told of what changes. Must be quick, and never wait."""

    def report(self, model: str, state: ModelState | None) -> None:
        """Hear the state of a model; None: it has none any more."""
        ...

    def report_memory(self, used_bytes: int, budget_bytes: int, taken_bytes: int, *, short: bool) -> None:
        """Hear how much of their budget models use and other programs have, and whether the machine is short of memory."""
        ...

    def report_narrowing(self, batch_waits: str) -> None:
        """Hear why no batch work begins, in a word; empty: it may."""
        ...


class Conductor:
    """Decides for one worker, again and again, which models are in memory and which queues may be fetched.

    Args:
        lookout: Sees what the policy must know.
        residency: Loads and unloads.
        gates: The queues.
        audience: Told of every change.
        hand_back: Gives those jobs of a model back to their queue whose answers have not begun.
    """

    def __init__(
        self,
        lookout: Lookout,
        residency: Residency,
        gates: Gates,
        audience: Audience,
        hand_back: Callable[[str], None],
    ) -> None:
        self._lookout = lookout
        self._residency = residency
        self._gates = gates
        self._audience = audience
        self._hand_back = hand_back
        self._told: dict[str, ModelState] = {}
        self._told_memory: tuple[int, int, bool] | None = None
        self._told_narrowing = ""
        self._opened: dict[tuple[str, Lane], int] = {}
        self._contended = False
        self._claimed: set[str] = set()  # models whose load this worker may have claimed, and has not said to be over
        self._poked = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="conductor", daemon=True)

    def start(self) -> None:
        """Begin to conduct."""
        self._thread.start()

    def stop(self) -> None:
        """Decide nothing more."""
        self._stopping.set()
        self._poked.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_LOOK_EVERY_S)

    def poke(self) -> None:
        """Look again soon: something happened that may change the plan."""
        self._poked.set()

    def acknowledged(self, left: int) -> None:
        """Hear that a job of a queue has ended, of which *left* are still here."""
        if not left or self._contended:
            self._poked.set()

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stopping.is_set():
            self._poked.wait(pause_s)
            self._poked.clear()
            if self._stopping.is_set():
                return
            try:
                pause_s = self._conduct()
            except StoreUnavailable:
                pause_s = _RETRY_S
            self._stopping.wait(_PAUSE_S)

    def _conduct(self) -> float:
        """Look, decide and act once; return for how long nothing changes by itself."""
        over = self._claimed - {self._residency.loading}  # before the look, which then sees what came of these loads
        seen = self._lookout.look()
        made = plan(seen.world)
        self._residency.asked = self._residency.asked or self._is_load_awaited(seen)
        self._lookout.gpu.leaving = frozenset(made.leaving)
        self._residency.refuse(seen.refusals)
        self._carry_out(made, seen)
        self._tell(made, seen)
        self._end_loads(over)
        self._tell_memory(seen.world)
        # While somebody waits for memory every end of a job may be what he waits for.
        self._contended = bool(made.leaving) or any(model not in seen.resident for model in made.reasons)
        return _LOOK_EVERY_S if made.wake_at is None else min(_LOOK_EVERY_S, max(0.0, made.wake_at - seen.world.now))

    def _is_load_awaited(self, seen: Sight) -> bool:
        """Return whether somebody waits for the load under way: for its model, or for one that cannot be loaded before it is over."""
        absent = [backlog for model, backlog in seen.world.backlogs.items() if model not in seen.resident]
        return any(backlog.asked for backlog in absent) or self._residency.loading in self._lookout.wishing.wanted

    def _carry_out(self, made: Plan, seen: Sight) -> None:
        for queue in self._opened.keys() - made.gates.keys():
            self._set(queue, 0)
        self._close_and_narrow(made)
        for one in seen.world.residents:
            if one.model in made.leaving and one.wanted_bytes:
                # It makes room for others, and has jobs that wait for room themselves: they would keep it here for ever.
                self._hand_back(one.model)
        for model in made.unload:
            if any(self._gates.fetched(model, lane) for lane in Lane):
                continue  # fetched before its gate closed: their end is the next reason to look
            if self._residency.unload(model):
                log.info("model.leaves", model=model)
        for model in seen.misplaced:
            self._hand_back(model)
        if made.load is not None and self._claim(made.load):
            spec = seen.specs[made.load]
            log.info("model.comes", model=spec.id, need_bytes=seen.needs[spec.id].load_bytes)
            self._residency.load(spec, seen.needs[spec.id], asked=self._is_load_awaited(seen))
            self._poked.set()  # a plan that loads unloads nobody: what else is due comes now
        for queue, limit in made.gates.items():
            self._set(queue, limit)

    def _claim(self, model: str) -> bool:
        """Take the load of *model*, unless another worker was quicker: then it is left to that one, and there is something to plan anew."""
        self._claimed.add(model)  # before the call: after an error it may have been granted, and then it must end
        granted = self._lookout.elsewhere.claim_load(model)
        if not granted:
            log.info("load.left_to_others", model=model)
            self._claimed.discard(model)
            self._poked.set()
        return granted

    def _end_loads(self, over: set[str]) -> None:
        """Let others know of loads that have ended, now that what came of them has been reported."""
        for model in over - {self._residency.loading}:  # it may have been begun again
            self._claimed.discard(model)
            self._lookout.elsewhere.end_load(model)

    def _close_and_narrow(self, made: Plan) -> None:
        for queue, limit in made.gates.items():
            if limit < self._opened.get(queue, 0):
                self._set(queue, limit)

    def _set(self, queue: tuple[str, Lane], limit: int) -> None:
        if self._opened.get(queue, 0) != limit:
            self._gates.set_limit(*queue, limit)
        if limit:
            self._opened[queue] = limit
        else:
            self._opened.pop(queue, None)

    def _tell(self, made: Plan, seen: Sight) -> None:
        """Report what has changed for those who look."""
        now = {model: ModelState(state="resident", bytes=seen.weights[model]) for model in seen.resident}
        loading = self._residency.loading
        if loading is not None:
            now[loading] = ModelState(state="loading", detail=f"{loading} is being loaded.")
        for model, reason in made.reasons.items():
            state = waiting_state(model, reason)
            if state is not None and model in seen.resident:  # it is about to leave, or lacks room for an answer
                now[model] = now[model].model_copy(update={"reason": state.reason, "detail": state.detail})
            elif state is not None:
                now.setdefault(model, state)
        forecast = Forecast(seen.world, made, seen.job_s, seen.loading_since)
        now = {model: state.model_copy(update={"outlook": forecast.outlook(model)}) for model, state in now.items()}
        for model, error in seen.failed.items():
            now.setdefault(model, ModelState(state="failed", detail=error.message))
        for model in self._told.keys() | now.keys():
            if self._told.get(model) != now.get(model):
                self._audience.report(model, now.get(model))
        self._told = now

    def _tell_memory(self, world: World) -> None:
        used_bytes = (world.budget_bytes - world.free_bytes) // _STEP_BYTES * _STEP_BYTES
        taken_bytes = world.taken_bytes // _COARSE_STEP_BYTES * _COARSE_STEP_BYTES
        if self._told_memory != (now := (used_bytes, taken_bytes, not world.admission)):
            self._told_memory = now
            self._audience.report_memory(used_bytes, world.budget_bytes, taken_bytes, short=not world.admission)
        if self._told_narrowing != world.batch_waits:
            self._told_narrowing = world.batch_waits
            self._audience.report_narrowing(world.batch_waits)
