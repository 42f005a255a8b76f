"""What several workers of one Redis share: queues that no model has to itself, and jobs that one of them has to leave to others.

A worker that must not take a job (its claim says so: another version of work,
or a model that others can run and it cannot) announces it again and fetches
nothing from that queue for a while, so that somebody else gets it. The job
keeps its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.actors.chains import STEPS_AT_ONCE
from app.actors.counting import COUNTS_AT_ONCE
from app.actors.downloads import AT_ONCE
from app.engines.registry import serves
from app.jobs import keys
from app.jobs.record import Lane
from app.jobs.work import WORK_VERSION
from app.log import get_logger
from app.scheduler.lookout import DEFAULT_SLOTS

if TYPE_CHECKING:
    from app.actors.consumer import WorkerBroker
    from app.jobs.broker import Announcer
    from app.jobs.claims import Unclaimed
    from app.models.catalog import Catalog

__all__ = ["SharedQueues", "threads_for"]

log = get_logger("worker.sharing")

_AT_ONCE = {keys.CHAINS: STEPS_AT_ONCE, keys.COUNTS: COUNTS_AT_ONCE}
_SPARE_THREADS = 8
_MOST_THREADS = 1024
_ELSEWHERE_S = 1.0  # for so long a queue is left alone of which a job was for others
_TOO_NEW_S = 30.0  # likewise where this worker does not know what is asked: that does not change before it is replaced


def threads_for(catalog: Catalog) -> int:
    """Return how many messages may be waited on at once. A thread that waits costs next to nothing; one too few starves a model."""
    wanted = sum(2 * (spec.slots or DEFAULT_SLOTS) for spec in catalog if serves(spec)) + AT_ONCE + sum(_AT_ONCE.values())
    return min(_MOST_THREADS, wanted + _SPARE_THREADS)


class SharedQueues:
    """The queues of one worker that the conductor does not open, and the jobs that it hands back.

    Args:
        home: Of this worker.
        remote: Whether the jobs are on another machine.
        catalog: The models of this moment.
    """

    def __init__(self, home: str, *, remote: bool, catalog: Callable[[], Catalog]) -> None:
        self._home = home
        self._remote = remote
        self._catalog = catalog
        self._warned: set[int] = set()

    def first_limit(self, queue: str) -> int:
        """Return how wide a queue's gate is before anybody sets it: the conductor opens those of models."""
        if keys.is_downloads(queue):  # a remote worker does those of the machine that has the jobs only where nobody else does
            return AT_ONCE if queue == keys.downloads_of(self._home if self._remote else None) else 0
        if queue in _AT_ONCE:
            return _AT_ONCE[queue]
        if queue == keys.QUARANTINE:
            return 1  # suspects run one at a time
        # A queue of a model that the catalog has lost is open, so that its jobs are told: by the machine that has the jobs, whose
        # catalog it was.
        known = any(queue == keys.queue_name(spec.id, lane) for spec in self._catalog() for lane in Lane)
        return 0 if known or self._remote else 1

    def see_main(self, broker: WorkerBroker, *, lives: bool) -> None:
        """Do the downloads of the machine that has the jobs while no worker lives there."""
        if self._remote:
            broker.set_limit(keys.DOWNLOADS, 0 if lives else AT_ONCE)

    def hand_back(self, broker: WorkerBroker, announcer: Announcer, job_id: str, refused: Unclaimed) -> None:
        """Announce a job for others, that a claim refused; nothing where it was refused for another reason.

        Raises:
            StoreUnavailable: Redis went away; the reconciler of some worker announces it.
        """
        if refused.queue is None:
            return
        too_new = refused.needs > WORK_VERSION
        broker.pause(refused.queue, _TOO_NEW_S if too_new else _ELSEWHERE_S)  # before it is announced, or it would come here again
        if too_new and refused.needs not in self._warned:
            self._warned.add(refused.needs)
            log.warning("work.too_new", job=job_id, needs=refused.needs, known=WORK_VERSION, detail="Update this worker's software.")
        announcer.announce(job_id, front=True)
