"""What no way to share the machine can do better, however well it knew the future. Honest, and not always reachable.

Loads: each model that is asked for must come once. Makespan: the largest of

- every job by itself: it comes, its model has been asked for and is loaded at the soonest, it runs alone;
- the loads, one at a time, and after the last of them at least one job of that model;
- all work in full batches, after the quickest load;
- where no two of the models fit together: the loads and the work, since nothing runs while the only place changes.

Waits are not bounded: zero is a bound for each, and says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.simulation.machine import Arrival, SimModel, Trace

__all__ = ["Bound", "lower_bound"]


@dataclass(frozen=True, slots=True)
class Bound:
    """The best that can be hoped for."""

    loads: int
    makespan_s: float


def lower_bound(trace: Trace) -> Bound:
    """Return the bound for *trace*."""
    later = [one for follow in trace.followers.values() for one in follow]
    jobs = [*trace.arrivals, *later]
    asked = {one.model: trace.models[one.model] for one in jobs}
    # An always model may be loaded before anybody comes, and what is loaded then is no part of the makespan.
    early = any(model.residency == "always" for model in asked.values())
    begin = 0.0 if early else min(one.at for one in trace.arrivals)
    loads_s = sum(model.load_s for model in asked.values())
    work_s = sum(one.work_s * _share(asked[one.model]) for one in jobs)
    last_s = min(one.work_s for one in jobs)
    changes_s = min(model.unload_s for model in asked.values()) * (len(asked) - 1)
    bounds = [
        *_alone(trace, asked),
        begin + loads_s + last_s,
        begin + min(model.load_s for model in asked.values()) + work_s,
        begin + loads_s + changes_s + work_s if _one_fits(list(asked.values()), trace.budget_bytes) else 0.0,
    ]
    return Bound(len(asked), max(bounds))


def _share(model: SimModel) -> float:
    """Return the seconds of GPU that a second of work takes in a full batch."""
    return (1 + model.batch_cost * (model.slots - 1)) / model.slots


def _alone(trace: Trace, asked: Mapping[str, SimModel]) -> list[float]:
    first = {name: min((one.at for one in trace.arrivals if one.model == name), default=0.0) for name in asked}
    there: dict[str, float] = {
        name: model.load_s if model.residency == "always" else first[name] + model.load_s for name, model in asked.items()
    }

    def end(one: Arrival, not_before: float) -> float:
        return max(not_before, there[one.model]) + one.work_s

    ends = [end(one, one.at) for one in trace.arrivals]
    for group, follow in trace.followers.items():
        heard = max(end(one, one.at) for one in trace.arrivals if one.group == group)
        ends += [end(one, heard + one.at) for one in follow]
    return ends


def _one_fits(models: Sequence[SimModel], budget_bytes: int) -> bool:
    sizes = sorted(model.bytes for model in models)
    return len(sizes) > 1 and sizes[0] + sizes[1] > budget_bytes
