"""The job store as the API sees it: asynchronous, with waiting.

Store calls are short and run on a few threads; waiting costs no thread. As one
caller sees it, a gateway has no jobs and files but the caller's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from app.errors import IdempotencyConflict, QueueFull, StoreUnavailable
from app.jobs.batches import Batches
from app.jobs.broker import Announcer, InferenceBroker
from app.jobs.chains import Chains
from app.jobs.claims import Unannounced
from app.jobs.connection import connect, store_errors
from app.jobs.deliveries import Deliveries
from app.jobs.feed import JobFeed, Subscription, Waiter
from app.jobs.files import FileStore
from app.jobs.glances import Glances
from app.jobs.keys import queue_of
from app.jobs.leases import Leases
from app.jobs.owners import Owners
from app.jobs.past import PastJobs
from app.jobs.reading import JobReader, Output
from app.jobs.record import SEEN_TO_BY_API, TERMINAL, Job, JobKind, JobState, Lane
from app.jobs.room import Room
from app.jobs.spool import Spool
from app.jobs.store import JobStore
from app.jobs.streams import StreamEntry
from app.jobs.submission import NewJob, Submitted
from app.jobs.wishes import Wishes
from app.log import get_logger
from app.named_keys import ANYONE, Caller

if TYPE_CHECKING:
    from app.exposure import Rate
    from app.settings import Settings

__all__ = ["JobGateway"]

log = get_logger("gateway")

T = TypeVar("T")
_THREADS = 16


class JobGateway:
    """What routes may ask of jobs. Open one in each API process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._spool = Spool(settings.spool_dir)
        self._store = JobStore(connect(settings), self._spool)
        self._wishes = Wishes(self._store)
        self._past = PastJobs(self._store)
        self._owners = Owners(self._store)
        self.caller = ANYONE
        self._broker = InferenceBroker(settings, broker_id=f"api:{secrets.token_hex(8)}")
        self._announcer = Announcer(self._broker, self._store)
        self._store.moves.announce = self._announcer.announce
        self._chains = Chains(self._store)
        self._room = Room(self._store, settings)
        self._feed = JobFeed(self._store, connect(settings, retries=0))
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")
        self.glances = Glances(lambda ids: self._call(lambda: self._store.find_many(ids)))
        self._leases = Leases(self._store, self._call)
        self._tending: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """Connect and begin to listen. Redis may be away: then requests fail until it is back."""
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        gateway = cls(settings)
        gateway._feed.start()
        gateway._tending = asyncio.create_task(gateway._leases.tend())
        return gateway

    def as_seen_by(self, caller: Caller) -> Self:
        """Return this gateway for *caller*: what it submits is its own, and of a key that is no administrator's nothing else is there."""
        seen = copy.copy(self)
        seen.caller = caller
        return seen

    async def close(self) -> None:
        """Stop listening and let go of every connection."""
        if self._tending:
            self._tending.cancel()
        await asyncio.to_thread(self._feed.stop)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._store.client.close()
        self._broker.close()

    async def submit(self, new: NewJob) -> Submitted:
        """Record and announce a job.

        Raises:
            QueueFull: A limit of queue length, Redis memory or spool disk is reached.
            IdempotencyConflict: The key was used with another body.
            StoreUnavailable: Redis does not answer; nothing was accepted.
        """
        return await self._call(lambda: self._submit(new))

    def _submit(self, new: NewJob) -> Submitted:
        self._room.check()
        new = new.model_copy(update={"owner": self.caller.name})
        try:
            submitted = self._store.submit(new, max_queued=self._settings.max_queued)
        except (QueueFull, IdempotencyConflict):  # after anything else the job may be there, and the sweep looks later
            self._let_go(new)
            raise
        if submitted.created:
            self._announce(new.id, new.kind, queue_of(new.kind, new.model, new.lane, new.home))
        else:
            self._let_go(new)
        return submitted

    def _let_go(self, new: NewJob) -> None:
        """Let go of what was held for a job that is not there."""
        for blob in new.blobs:
            self._store.spool.drop(new.id, blob)

    async def retry(self, job_id: str) -> Job:
        """Record and announce a new job with the request of one that has ended.

        Raises:
            JobNotFound: There is no such job.
            IllegalTransition: It has not ended.
            QueueFull: As :meth:`submit`.
        """
        return await self._about(job_id, lambda: self._retry(job_id))

    def _retry(self, job_id: str) -> Job:
        self._room.check()
        job = self._store.retry(job_id, max_queued=self._settings.max_queued)
        self._announce(job.id, job.kind)
        return job

    def _announce(self, job_id: str, kind: JobKind, queue: str | None = None) -> None:
        if kind in SEEN_TO_BY_API:  # by no message
            return
        try:
            if queue is None:
                self._announcer.announce(job_id)
            else:
                self._announcer.announce_as(job_id, Unannounced(queue=queue, announce=1))
        except StoreUnavailable:
            log.warning("job.announcement_delayed", job=job_id)  # recorded, so accepted: the worker's reconciler announces it

    async def check_room(self) -> None:
        """Raise :class:`QueueFull` where nothing more can be kept."""
        await self._call(self._room.check)

    @contextlib.asynccontextmanager
    async def waiting(self, job_id: str, after: str = "0-0") -> AsyncIterator[Waiter]:
        """Wait on a job. Leaving the block before its end is hanging up, unless :meth:`keep` was called.

        Raises:
            JobNotFound: There is no such job.
        """
        with self._feed.subscribe(job_id, after) as subscription:
            waiter = Waiter(subscription, await self._leases.take(job_id))
            try:
                await self._catch_up(subscription, after)
                yield waiter
            finally:
                await self._leases.give_back(waiter.lease, kept=waiter.kept)

    async def keep(self, job_id: str, waiter: Waiter) -> None:
        """Turn a job that was waited on into a submitted one: it outlives its waiter."""
        await self._call(lambda: self._store.keep(job_id, waiter.lease))
        waiter.kept = True

    async def follow(self, job_id: str, after: str = "0-0") -> AsyncGenerator[StreamEntry]:
        """Yield a job's entries after a cursor, to its end, without counting as a waiter.

        Raises:
            JobNotFound: There is no such job.
        """
        with self._feed.subscribe(job_id, after) as subscription:
            await self._catch_up(subscription, after)
            while True:
                entry = await subscription.entries.get()
                yield entry
                if entry.is_end:
                    return

    async def _catch_up(self, subscription: Subscription, after: str) -> None:
        """Deliver what was written before we listened; for a stream that is gone, how the job ended."""
        job = await self.get(subscription.job_id)
        await self._call(lambda: self._feed.read_now([subscription.job_id]))
        await asyncio.sleep(0)  # lets the entries just delivered arrive in the queue
        if job.state in TERMINAL and subscription.entries.empty():
            subscription.entries.put_nowait(StreamEntry(id=after, type="state", attempt=job.attempt, state=job.state))

    async def get(self, job_id: str) -> Job:
        """Return a job; :class:`JobNotFound` when there is none."""
        return await self._about(job_id, lambda: self._store.get(job_id))

    async def output(self, job_id: str) -> Output:
        """Return a job's output; :class:`JobNotFinished` when there is none."""
        return await self._about(job_id, lambda: self._store.output(job_id))

    async def read(self, look: Callable[[JobReader], T]) -> T:
        """Return what *look* finds in the store."""
        return await self._call(lambda: look(self._store))

    async def list_jobs(
        self,
        *,
        state: JobState | None = None,
        kind: JobKind | None = None,
        model: str | None = None,
        lane: Lane | None = None,
        parent: str | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> list[Job]:
        """Return jobs, newest first, as :meth:`JobReader.list_jobs` does, or a parent's in their order, as :meth:`Chains.list_children`."""
        facts: dict[str, Any] = {"state": state, "kind": kind, "model": model, "lane": lane, "limit": limit, "after": after}
        if parent is not None:
            return await self._about(parent, partial(self._chains.list_children, parent, **facts))
        return await self._call(partial(self._store.list_jobs, owner=self.caller.owner, **facts))

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job; one that has ended stays as it is."""
        return await self._about(job_id, lambda: self._store.cancel(job_id))

    async def hold(self, pieces: Iterable[bytes], *, holder: str) -> str:
        """Keep content in the spool for a job that is about to be submitted; return its hash."""
        return await self._call(lambda: self._store.spool.put_pieces(pieces, holder=holder))

    def path_of(self, blob: str) -> Path:
        """Return where content that is held lies."""
        return self._store.spool.path(blob)

    async def drop(self, *, holder: str) -> None:
        """Let go of what was held for a job that is not submitted after all."""
        await self._call(lambda: self._store.spool.drop(holder))

    async def spool(self, work: Callable[[Spool], T]) -> T:
        """Return what *work* finds or does in the spool."""
        return await self._call(lambda: work(self._spool))

    async def files(self, work: Callable[[FileStore], T]) -> T:
        """Return what *work* finds or does among the uploaded files."""
        return await self._call(lambda: work(FileStore(self._store, self.caller)))

    async def batches(self, work: Callable[[Batches], T]) -> T:
        """Return what *work* finds or does among batches."""
        return await self._call(lambda: work(Batches(self._store, self.caller)))

    async def deliveries(self, work: Callable[[Deliveries], T]) -> T:
        """Return what *work* finds or does among what is to be told to webhooks."""
        return await self._call(lambda: work(Deliveries(self._store)))

    async def past(self, job_id: str, work: Callable[[PastJobs], T]) -> T:
        """Return what *work* finds or does about a job and what was asked of it; :class:`JobNotFound` when there is none."""
        return await self._about(job_id, lambda: work(self._past))

    async def wishes(self, work: Callable[[Wishes], T]) -> T:
        """Return what *work* finds or does among what users want of models."""
        return await self._call(lambda: work(self._wishes))

    async def spend(self, caller: str, rate: Rate) -> float:
        """Count one more request of *caller*; return for how many seconds it must wait."""
        return await self._call(lambda: self._owners.spend(caller, rate))

    async def ping(self) -> bool:
        """Return whether Redis answers."""
        with contextlib.suppress(StoreUnavailable):
            return bool(await self._call(self._store.client.ping))
        return False

    async def _about(self, job_id: str, work: Callable[[], T]) -> T:
        """Do *work* about a job that the caller sees."""

        def checked() -> T:
            if self.caller.owner is not None:
                self._owners.check(job_id, self.caller.owner)
            return work()

        return await self._call(checked)

    async def _call(self, work: Callable[[], T]) -> T:
        with store_errors():
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
