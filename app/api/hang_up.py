"""Work for as long as somebody wants it: until the client hangs up or the process stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.types import Receive

from app.api.errors import ClientHungUp, ServerStopping
from app.api.services import Services
from app.jobs.feed import Waiter

__all__ = ["attached", "while_wanted"]

T = TypeVar("T")


async def while_wanted(work: Coroutine[Any, Any, T], receive: Receive, stopping: asyncio.Event) -> T:
    """Return what *work* returns; cancel it when nobody wants it any more.

    Args:
        work: Cancelled and waited for before this raises.
        receive: The request's ASGI channel; its body must have been read.
        stopping: Set when the process is about to end.

    Raises:
        ClientHungUp: The connection was closed.
        ServerStopping: *stopping* was set.
    """
    working = asyncio.ensure_future(work)
    hung_up = asyncio.ensure_future(_disconnected(receive))
    stopped = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({working, hung_up, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientHungUp if hung_up.done() else ServerStopping
    finally:
        for task in (working, hung_up, stopped):
            task.cancel()
        await asyncio.gather(working, hung_up, stopped, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def attached(services: Services, job_id: str) -> AsyncIterator[Waiter]:
    """Wait on a job inside the block. A client's hanging up is the job's end, our own stopping is not."""
    async with services.gateway.waiting(job_id) as waiter:
        try:
            yield waiter
        except ServerStopping:
            await services.gateway.keep(job_id, waiter)
            raise
