"""The leases of those who wait in this process: taken, given back, renewed while they last.

A lease is renewed while its waiter lives, so that the waiters of a process
that died are not counted for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from app.errors import StoreUnavailable
from app.jobs.store import LEASE_S

if TYPE_CHECKING:
    from app.jobs.store import JobStore

__all__ = ["Leases"]

_TEND_EVERY_S = 1.0
_RENEW_AT_ONCE = 500


class Leases:
    """The leases of one process.

    Args:
        store: Has the jobs.
        call: Does the work of the store on a thread.
    """

    def __init__(self, store: JobStore, call: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        self._store = store
        self._call = call
        self._process = f"api-{secrets.token_hex(6)}"
        self._held: dict[str, str] = {}  # lease -> job id
        self._leaving: set[asyncio.Task[None]] = set()

    async def take(self, job_id: str) -> str:
        """Count one more waiter of a job; return its lease. :class:`JobNotFound` when there is no such job."""
        lease = f"{self._process}-{secrets.token_hex(4)}"
        await self._call(lambda: self._store.attach(job_id, lease))
        self._held[lease] = job_id
        return lease

    async def give_back(self, lease: str, *, kept: bool) -> None:
        """End a lease. Unless the job is *kept* its waiter hangs up, also while the caller's task is being cancelled."""
        job_id = self._held.pop(lease)
        if not kept:
            leaving = asyncio.create_task(self._hang_up(job_id, lease))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
            await asyncio.shield(leaving)

    async def _hang_up(self, job_id: str, lease: str) -> None:
        with contextlib.suppress(StoreUnavailable):
            await self._call(lambda: self._store.detach(job_id, lease))

    async def tend(self) -> None:
        """Keep time for those who wait here: their leases, and deadlines too, which must pass also while no worker runs."""
        renewed_s = time.monotonic()
        while True:
            await asyncio.sleep(_TEND_EVERY_S)
            if not self._held:
                continue
            with contextlib.suppress(StoreUnavailable):
                await self._call(self._store.expire_deadlines)
                if time.monotonic() - renewed_s < LEASE_S / 3:
                    continue
                renewed_s = time.monotonic()
                leases = [(job_id, lease) for lease, job_id in self._held.items()]
                for start in range(0, len(leases), _RENEW_AT_ONCE):
                    await self._call(partial(self._store.renew, leases[start : start + _RENEW_AT_ONCE]))
