"""What several workers loaded, held against what waited just then and who else had it: was each load of use to anybody?

Made from what a store keeps of its own accord: the stream of what came into memory, the stream of moves, and the jobs' records. All
times are Redis's. A worker that a test cuts off or kills has nothing in memory from then on, as far as others can know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import cast

from app.jobs import keys
from app.jobs.memory_log import MemoryChange, read_memory_log
from app.jobs.reading import JobReader

__all__ = ["Absence", "Stay", "Wait", "doubled_loads", "history", "needless_loads", "stays", "waits"]

_KEEPS_UP_S = 4.9  # a model whose oldest job has waited 5 s for whoever has it in memory is not kept up with; clocks are read apart
_LATE_S = 2.0  # what a worker does may be told so much later; what waited then may be gone by then


@dataclass(frozen=True, slots=True)
class Stay:
    """A model in a worker's memory, or on its way there."""

    home: str
    model: str
    began_at: float  # its load did
    ready_at: float = inf
    ended_at: float = inf

    def __str__(self) -> str:
        """Return what a failed test shows."""
        return f"{self.home} had {self.model} from {self.began_at:.2f} ({self.ready_at:.2f}) to {self.ended_at:.2f}"


@dataclass(frozen=True, slots=True)
class Wait:
    """One time that a job was in its queue."""

    job: str
    model: str
    submitted_at: float
    from_at: float
    to_at: float = inf


@dataclass(frozen=True, slots=True)
class Absence:
    """A home that others could not hear: it was cut off, or killed."""

    home: str
    from_at: float
    to_at: float = inf


def stays(changes: Iterable[MemoryChange]) -> list[Stay]:
    """Return every stay that workers have told of, by the beginnings of their loads."""
    found: list[Stay] = []
    present: dict[tuple[str, str], Stay] = {}

    def end(worker: str, model: str, at: float) -> None:
        if stay := present.pop((worker, model), None):
            found.append(replace(stay, ended_at=at))

    for change in changes:
        key = (change.worker, change.model)
        if change.what in {"loading", "resident"}:
            stay = present.get(key) or Stay(change.worker.partition("-")[0], change.model, change.at)
            ready_at = change.at if change.what == "resident" else inf
            present[key] = replace(stay, ready_at=min(stay.ready_at, ready_at))
        elif change.what == "gone":
            end(*key, change.at)
        elif change.what in {"began", "left"}:  # a home has one worker: what an earlier one had is gone with it
            home = change.worker.partition("-")[0]
            for worker, model in [one for one in present if one[0].partition("-")[0] == home]:
                end(worker, model, change.at)
    return sorted([*found, *present.values()], key=lambda stay: stay.began_at)


def waits(store: JobReader) -> list[Wait]:
    """Return every time that a job of the store was in its queue."""
    found: list[Wait] = []
    waiting: dict[str, Wait] = {}
    rows = cast("list[tuple[str, dict[str, str]]]", store.client.xrange(keys.EVENTS))
    created = {job: float(str(store.client.hget(keys.job(job), "created_at"))) for job in {row["job"] for _, row in rows}}
    for entry_id, row in rows:
        at, job = int(entry_id.partition("-")[0]) / 1000, row["job"]
        if before := waiting.pop(job, None):
            found.append(replace(before, to_at=at))
        if row["state"] == "queued":
            waiting[job] = Wait(job, row["model"], created[job], at)
    return [*found, *waiting.values()]


def doubled_loads(told: Sequence[Stay], absences: Sequence[Absence]) -> list[str]:
    """Return what is to be said against each load that began while somebody else was loading the model."""
    found = []
    for load, others in _with_others(told, absences):
        if coming := [stay for stay in others if stay.ready_at > load.began_at]:
            found.append(f"it was coming already: {load}; {coming[0]}")
    return found


def needless_loads(told: Sequence[Stay], waited: Sequence[Wait], absences: Sequence[Absence]) -> list[str]:
    """Return what is to be said against each load that nobody needed.

    A load is of use where somebody waits for the model in its queue, nobody else is about to have it, and whoever has it does not
    keep up or is about to part with it. (A suspect waits in a worker that has claimed it, so this is not for tests that make any.)
    """
    found = doubled_loads(told, absences)
    for load, others in _with_others(told, absences):
        lines = [wait for wait in waited if wait.model == load.model and wait.from_at <= load.began_at <= wait.to_at + _LATE_S]
        staying = [stay for stay in others if stay.ready_at <= load.began_at and stay.ended_at > load.began_at + _LATE_S]
        if not lines:
            found.append(f"nobody waited: {load}")
        elif staying and (longest_s := _longest_s(load, lines, staying)) < _KEEPS_UP_S:
            found.append(f"it was kept up with, nobody had waited more than {longest_s:.2f} s: {load}; {staying[0]}")
    return found


def _with_others(told: Sequence[Stay], absences: Sequence[Absence]) -> Iterator[tuple[Stay, list[Stay]]]:
    """Yield each load with the stays of its model elsewhere in that moment."""
    for load in told:
        if _absent(load.home, load.began_at, absences):
            continue  # it was told on the worker's return, and may have been decided before it was lost
        yield load, [stay for stay in told if stay is not load and stay.model == load.model and _there(stay, load.began_at, absences)]


def _longest_s(load: Stay, lines: Sequence[Wait], staying: Sequence[Stay]) -> float:
    """Return how long anybody had waited for those who had the model, the last one to come too: what was before that is not their doing."""
    since = max(stay.ready_at for stay in staying)
    return max(min(load.began_at, wait.to_at) - max(wait.submitted_at, since) for wait in lines)


def _there(stay: Stay, at: float, absences: Sequence[Absence]) -> bool:
    return stay.began_at <= at < stay.ended_at and not _absent(stay.home, at, absences)


def _absent(home: str, at: float, absences: Sequence[Absence]) -> bool:
    return any(absence.home == home and absence.from_at <= at <= absence.to_at for absence in absences)


def history(store: JobReader, names: Mapping[str, str]) -> tuple[list[Stay], list[Wait]]:
    """Return all stays, with homes by *names*, and all waits."""
    told = stays(read_memory_log(store.client))
    return [replace(stay, home=names.get(stay.home, stay.home)) for stay in told], waits(store)
