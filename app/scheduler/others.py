"""Whether a model is left to other workers of the same Redis. Pure: no clock, no I/O, no log.

Each worker decides for itself, from what all say of themselves, so that of
several who know the same:

* a model that one of them has in memory is loaded by no other while that one keeps up;
* who lacks the files of a model, or the memory for it, leaves it to one who has both;
* where nobody has both, one of them downloads, and the same one by everybody's reckoning;
* what none of them can have waits for one that is away, and may come back;
* what nobody could ever hold is left to the largest of the living, where it fails with the numbers.

They may know different things for a moment. So what is decided here is only
whether to try: a load is claimed before it begins (:mod:`app.jobs.loads`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.scheduler.plans import Why
from app.scheduler.world import Block

__all__ = ["KEEPS_UP_S", "Asked", "Peer", "leave", "unfit"]

# A worker that has a model in memory keeps up with its jobs as long as none of them waits longer than this,
# or than another load would take.
KEEPS_UP_S = 5.0


@dataclass(frozen=True, slots=True)
class Peer:
    """What a living worker says of itself, or this one of itself."""

    id: str
    remote: bool = False  # it is not the worker of the machine that has the jobs
    budget_bytes: int | None = None  # None: not said
    has: Mapping[str, int] | None = field(default_factory=dict)  # models it could load, and the bytes a load needs; None: not said yet
    fetches: frozenset[str] = frozenset()  # models whose files it lacks and could download
    warm: Mapping[str, float] = field(default_factory=dict)  # models it serves, and the epoch s since which they are known to be there
    resident: frozenset[str] = frozenset()  # these, and others that are in memory and on their way out, or short of room
    loading: frozenset[str] = frozenset()
    began_at: float = 0.0  # epoch s, by the clock of Redis

    def holds(self, model: str) -> bool:
        """Whether it has the files of *model* and the memory for it."""
        need_bytes = None if self.has is None else self.has.get(model)
        return need_bytes is not None and self.affords(need_bytes)

    def affords(self, need_bytes: int) -> bool:
        """Whether its budget would hold so much."""
        return self.budget_bytes is None or need_bytes <= self.budget_bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """A model that is asked for, or should always be there, and is not in memory here."""

    model: str
    need_bytes: int | None  # None: its files are not here
    broken: bool = False  # its load failed here lately
    fetchable: bool = False  # its files are not here and could be downloaded
    head_at: float | None = None  # epoch s since which the oldest of its jobs waits; None: nothing waits
    load_s: float = 0.0  # estimate; 0: unknown
    inside: bool = False  # somebody in this process waits for it, whom nobody else can serve


def leave(asked: Asked, here: Peer, others: Sequence[Peer], absent: Sequence[Peer] = ()) -> Block | None:
    """Return why a model is left to *others*, and until when; None: it is for this worker to load, to download or to refuse.

    Args:
        asked: The model.
        here: This worker.
        others: That live.
        absent: That may come back.
    """
    fits = asked.need_bytes is not None and here.affords(asked.need_bytes) and not asked.broken
    if fits:
        return None if asked.inside else _while_warm(asked, others)
    if any(one.holds(asked.model) for one in others):
        return Block(Why.SERVED_ELSEWHERE)
    if any(one.has is None for one in others):
        return Block(Why.ASKED_ELSEWHERE)
    fetcher = _fetcher(asked, here, others)
    if fetcher is not None:
        return None if fetcher == here.id else Block(Why.DOWNLOADING_ELSEWHERE)
    if asked.broken or asked.inside:
        return None
    if any(one.holds(asked.model) for one in absent):
        return Block(Why.AWAITED_ELSEWHERE)
    return None if _refuser(asked, here, others) in {None, here.id} else Block(Why.SERVED_ELSEWHERE)


def unfit(here: Peer, others: Sequence[Peer]) -> dict[str, str]:
    """Return the models that this worker cannot run and others can: for lack of ``files``, or of ``room``, which counting needs not."""
    known = {model for one in others for model in (*(one.has or ()), *one.fetches)}
    found = {}
    for model in known - {model for model in here.has or () if here.holds(model)}:
        has_files = model in (here.has or ())
        if any(one.holds(model) for one in others):
            found[model] = "room" if has_files else "files"
        elif not has_files and model not in here.fetches and any(model in one.fetches for one in others):
            found[model] = "files"
    return found


def _while_warm(asked: Asked, others: Sequence[Peer]) -> Block | None:
    if any(asked.model in one.loading for one in others):
        return Block(Why.LOADING_ELSEWHERE)
    since = max((one.warm[asked.model] for one in others if asked.model in one.warm), default=None)
    if since is None:
        return None
    # Jobs that had waited before it came are no sign that it does not keep up; of several, the last one to come has still to show it.
    until = None if asked.head_at is None else max(asked.head_at, since) + max(KEEPS_UP_S, asked.load_s)
    return Block(Why.IN_MEMORY_ELSEWHERE, until)


def _fetcher(asked: Asked, here: Peer, others: Sequence[Peer]) -> str | None:
    """Return who downloads a model that nobody can load: the machine that has the jobs, else the remote one with most memory."""
    needs = [asked.need_bytes, *((one.has or {}).get(asked.model) for one in others)]
    need_bytes = max((need for need in needs if need is not None), default=0)
    able = [one for one in others if asked.model in one.fetches] + ([here] if asked.fetchable else [])
    able = [one for one in able if one.affords(need_bytes)]
    if here in able and not here.remote:
        return here.id
    return max(able, key=lambda one: (not one.remote, one.budget_bytes or 0, one.id)).id if able else None


def _refuser(asked: Asked, here: Peer, others: Sequence[Peer]) -> str | None:
    """Return who says with which numbers that a model fits nowhere: of those who know what it needs the one with most memory."""
    able = [one for one in others if asked.model in (one.has or ())] + ([here] if asked.need_bytes is not None else [])
    return max(able, key=lambda one: (one.budget_bytes or 0, not one.remote, one.id)).id if able else None
