"""All batches that are not settled: this process sees to those that no other process's clerk sees to.

It looks every few seconds, and at once when it is told of a batch. A clerk that fails is told in the log and tried anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from typing import TYPE_CHECKING

from app.api.batches.clerk import BatchClerk
from app.errors import StoreUnavailable
from app.jobs.batches import ClerkId, NoLongerClerk
from app.log import get_logger

if TYPE_CHECKING:
    from app.api.services import Services

__all__ = ["BatchOffice"]

log = get_logger("batches")

_LOOK_S = 5.0
_AT_ONCE = 16


class BatchOffice:
    """The clerks of one process, from the beginning of a block to its end."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._process = f"api-{secrets.token_hex(6)}:"
        self._numbers = itertools.count()
        self._clerks: dict[str, asyncio.Task[None]] = {}
        self._changed = services.batches_changed
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        """Begin to look."""
        self._looking = asyncio.create_task(self._look())

    async def __aexit__(self, *_: object) -> None:
        """Leave every batch to other processes, or to this one's next start."""
        tasks = [*([self._looking] if self._looking else ()), *self._clerks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            self._changed.clear()
            with contextlib.suppress(StoreUnavailable):
                await self._take_on()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._changed.wait()

    async def _take_on(self) -> None:
        """See to the batches that nobody else sees to, oldest first."""
        for batch in await self._services.gateway.batches(lambda batches: batches.unsettled()):
            if batch not in self._clerks and len(self._clerks) < _AT_ONCE:
                clerk = BatchClerk(self._services, ClerkId(batch, f"{self._process}{next(self._numbers)}", self._process))
                with contextlib.suppress(NoLongerClerk):
                    await clerk.take()
                    self._clerks[batch] = asyncio.create_task(self._see_to(batch, clerk))

    async def _see_to(self, batch: str, clerk: BatchClerk) -> None:
        try:
            await clerk.attend()
        except* (NoLongerClerk, StoreUnavailable):
            log.debug("batch.left", batch=batch)
        except* OSError as errors:  # a full disk, mostly: there may be room at the next look
            log.warning("batch.disk", batch=batch, reasons=sorted({str(error) for error in errors.exceptions}))
        except* Exception as errors:  # the task's boundary: one batch that cannot be seen to keeps none of the others
            log.exception("batch.broke", batch=batch, errors=[type(error).__name__ for error in errors.exceptions])
        finally:
            del self._clerks[batch]
