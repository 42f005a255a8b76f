"""What happens to the jobs of a worker that is gone.

A home has one worker at a time (a file lock says so), so a worker that starts
rescues every other worker of its home at once. Workers of other homes are
known by their heartbeat alone. The jobs of the slice that was being stepped
may be charged; all others go back to their queue as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from app.jobs import keys
from app.jobs.series import CRASHES, RESCUES
from app.log import get_logger

if TYPE_CHECKING:
    from app.jobs.broker import Announcer, InferenceBroker
    from app.jobs.claims import Released
    from app.jobs.store import JobStore
    from app.jobs.tally import Tally

__all__ = ["Strays", "attempt_of", "broker_of", "rescue_home", "rescue_silent", "work_id"]

log = get_logger("worker.rescue")


def work_id(job_id: str, attempt: int, choice: int = 0) -> str:
    """Return the name of one attempt at one choice of a job: engines and the breadcrumb know work by it.

    The first choice's is the name of the attempt itself.
    """
    return f"{job_id}/{attempt}#{choice}" if choice else f"{job_id}/{attempt}"


def attempt_of(work: str) -> tuple[str, int]:
    """Return the name of the attempt that *work* belongs to, and which choice of it that is."""
    attempt, _, choice = work.partition("#")
    return attempt, int(choice) if choice.isdecimal() else 0


def broker_of(worker_id: str) -> str:
    """Return the id of a worker's broker."""
    return f"worker:{worker_id}"


def rescue_home(
    store: JobStore, broker: InferenceBroker, announcer: Announcer, worker_id: str, stepped: Mapping[str, int], tally: Tally
) -> list[Released]:
    """Take back what earlier workers of this home held.

    Args:
        store: The job store.
        broker: This worker's; every queue must be declared.
        announcer: Announces what is queued again.
        worker_id: This worker's id, ``{home}-{random}``.
        stepped: Work ids that the breadcrumb names, and in which of its slices each was.
        tally: Counts what is done.

    Returns:
        What became of each job that had been running.
    """
    home = worker_id.partition("-")[0]
    for name in broker.brokers():
        if name.startswith(broker_of(f"{home}-")) and name != broker_of(worker_id):
            moved = broker.recover(name)
            log.info("broker.recovered", broker=name, messages=moved)
    died_in: dict[str, int] = {}
    for name, number in stepped.items():
        attempt_name = attempt_of(name)[0]
        died_in[attempt_name] = max(number, died_in.get(attempt_name, 0))
    gone = [
        (job, token, died_in.get(work_id(job, attempt))) for job, worker, token, attempt in store.held() if _other(worker, home, worker_id)
    ]
    released = _release(store, announcer, gone, tally)
    for name in cast("set[str]", store.client.smembers(keys.WORKERS)):
        if _other(name, home, worker_id):
            store.client.delete(keys.worker(name), keys.models_of(name))
            _strike(store, tally, name)
    return released


def rescue_silent(store: JobStore, announcer: Announcer, worker_id: str, tally: Tally) -> list[Released]:
    """Take back what workers of other homes hold whose heartbeat has lapsed. Nobody is charged: the breadcrumb is over there."""
    home = worker_id.partition("-")[0]
    living = {worker.id for worker in store.workers()}
    gone = [(job, token, None) for job, worker, token, _ in store.held() if worker not in living and worker.partition("-")[0] != home]
    released = _release(store, announcer, gone, tally)
    silent = cast("set[str]", store.client.smembers(keys.WORKERS)) - living - {worker_id}
    if silent:
        _strike(store, tally, *silent)
    return released


class Strays:
    """Jobs that are running by this living worker's name while it knows nothing of them.

    It happens when Redis forgets its last second, and with it the end of a job, or when a claim cannot be read.
    They are given back, and charged: a record that cannot be read would come back for ever.

    Args:
        store: The job store.
        announcer: Announces what is queued again.
        worker_id: This worker's.
        working: Job and claim token of everything that it works on.
        tally: Counts what is done.
    """

    def __init__(
        self, store: JobStore, announcer: Announcer, worker_id: str, working: Callable[[], set[tuple[str, str]]], tally: Tally
    ) -> None:
        self._store = store
        self._announcer = announcer
        self._worker_id = worker_id
        self._working = working
        self._tally = tally
        self._seen: set[tuple[str, str]] = set()

    def rescue(self) -> list[Released]:
        """Give back what was astray in two passes in a row; in one it may have been claimed or committed just now."""
        held = [(job, token) for job, worker, token, _ in self._store.held() if worker == self._worker_id]
        working = self._working()
        astray = [claim for claim in held if claim not in working]
        lost = [(job, token, 0) for job, token in astray if (job, token) in self._seen]
        self._seen = set(astray)
        return _release(self._store, self._announcer, lost, self._tally)


def _other(worker: str, home: str, worker_id: str) -> bool:
    return worker != worker_id and worker.partition("-")[0] == home


def _strike(store: JobStore, tally: Tally, *names: str) -> None:
    """Strike workers that are gone from the list; each is counted by whoever does it."""
    if struck := store.client.srem(keys.WORKERS, *names):
        tally.count(CRASHES, by=struck)


def _release(store: JobStore, announcer: Announcer, gone: Sequence[tuple[str, str, int | None]], tally: Tally) -> list[Released]:
    """Release newest first: each goes to the front of its queue, so the oldest ends up first."""
    released = []
    for job_id, token, died_in in reversed(gone):
        what = store.release(job_id, token, died_in=died_in)
        if what.outcome == "requeued":
            announcer.announce(job_id, front=True)
        if what.outcome in {"requeued", "failed"}:
            charged = what.outcome == "failed" or what.queue == keys.QUARANTINE
            tally.count(RESCUES, what.outcome, "yes" if charged else "no")
        log.info("job.rescued", job=job_id, outcome=what.outcome, died_in=died_in)
        released.append(what)
    return released
