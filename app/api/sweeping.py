"""The spool is swept by whoever comes first: the worker of its home, or an API, for a home whose workers are all elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

from app.errors import StoreUnavailable
from app.jobs.reconcile import sweep_spool
from app.log import get_logger

if TYPE_CHECKING:
    from app.jobs.gateway import JobGateway

__all__ = ["sweep_if_due", "sweeping"]

log = get_logger("api.sweeping")

_EVERY_S = 600.0  # twice as long as a worker's: where there is one, an API finds nothing to do
_KEEP_S = 3600.0


@contextlib.asynccontextmanager
async def sweeping(gateway: JobGateway) -> AsyncIterator[None]:
    """Sweep now and then until the block ends."""
    task = asyncio.create_task(_sweep_now_and_then(gateway))
    try:
        yield
    finally:
        task.cancel()


async def _sweep_now_and_then(gateway: JobGateway) -> None:
    while True:
        await asyncio.sleep(_EVERY_S)
        try:
            await sweep_if_due(gateway)
        except (StoreUnavailable, OSError) as error:  # Redis is away, or the disk fails: the next look may have more luck
            log.warning("spool.not_swept", error=type(error).__name__)


async def sweep_if_due(gateway: JobGateway, *, older_than_s: float = _KEEP_S) -> bool:
    """Sweep, unless somebody has lately; return whether it was done.

    Args:
        gateway: Of this process.
        older_than_s: As :func:`~app.jobs.reconcile.sweep_spool` has it.
    """
    if time.time() - await gateway.spool(lambda spool: spool.last_swept()) < _EVERY_S:
        return False
    await gateway.read(partial(sweep_spool, older_than_s=older_than_s))
    return True
