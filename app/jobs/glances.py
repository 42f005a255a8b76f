"""Looks at jobs for many who wait: those who ask within a tenth of a second share one look at the store.

A hundred streams that each looked once a second would cost the API a hundred
looks of six round trips; together they cost at most ten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from app.errors import StoreUnavailable

if TYPE_CHECKING:
    from app.jobs.record import Job

__all__ = ["Glances"]

_GATHER_S = 0.1


class Glances:
    """The looks of one event loop.

    Args:
        look: Returns the jobs of these ids that exist.
    """

    def __init__(self, look: Callable[[Sequence[str]], Awaitable[Mapping[str, Job]]]) -> None:
        self._look = look
        self._asked: set[str] = set()
        self._next: asyncio.Task[Mapping[str, Job]] | None = None

    async def at(self, job_id: str) -> Job | None:
        """Return a job as it is now, without its output; None where nobody can say: it is gone, or the store does not answer."""
        self._asked.add(job_id)
        if self._next is None:
            self._next = asyncio.create_task(self._glance())
        # Shielded: one of those who share it may hang up.
        return (await asyncio.shield(self._next)).get(job_id)

    async def _glance(self) -> Mapping[str, Job]:
        await asyncio.sleep(_GATHER_S)
        asked, self._asked, self._next = sorted(self._asked), set(), None
        try:
            return await self._look(asked)
        except StoreUnavailable:
            return {}
