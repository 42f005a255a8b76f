"""Server-sent events: frames, keep-alives, and a response that notices when nobody reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from fastapi import Response
from fastapi.sse import format_sse_event
from starlette.types import Receive, Scope, Send

from app.api.errors import ClientHungUp
from app.api.hang_up import while_wanted
from app.errors import InferenceError

__all__ = ["KEEP_ALIVE", "EventStream", "FlowingBody", "with_pauses"]

T = TypeVar("T")

KEEP_ALIVE = format_sse_event(comment="keep-alive")


async def with_pauses(entries: AsyncIterator[T], *, first_s: float, then_s: float) -> AsyncGenerator[T | None]:
    """Yield *entries*, and None whenever there was none for a while.

    Args:
        entries: Whatever comes; iterated by a task, so a pause never interrupts it.
        first_s: Until the first None.
        then_s: Between an entry, or a None, and the next None.
    """
    waiting: asyncio.Task[T] | None = None
    patience_s = first_s
    try:
        while True:
            waiting = waiting or asyncio.create_task(_next(entries))
            done, _ = await asyncio.wait({waiting}, timeout=patience_s)
            patience_s = then_s
            if not done:
                yield None
                continue
            try:
                entry = waiting.result()
            except StopAsyncIteration:
                return
            waiting = None
            yield entry
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


async def _next(entries: AsyncIterator[T]) -> T:
    return await anext(entries)


class EventStream(Response):
    """Sends frames as they come.

    The headers wait for the first frame, so an error before it still gets its
    own status. An error after it becomes the last frame.

    Args:
        source: Opened before anything else and left when the stream ends, for whatever reason; gives the frames.
        stopping: Set when the process is about to end.
        error_frame: Says in a frame why the stream broke off.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        source: AbstractAsyncContextManager[AsyncIterator[bytes]],
        stopping: asyncio.Event,
        error_frame: Callable[[InferenceError], bytes],
    ) -> None:
        # X-Accel-Buffering: nginx would hold the frames back.
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._source = source
        self._stopping = stopping
        self._error_frame = error_frame
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send every frame, unless the client hangs up first."""
        try:
            async with self._source as frames:
                await while_wanted(self._send_all(frames, send), receive, self._stopping)
        except ClientHungUp:
            if not self._started:
                raise
            return
        except InferenceError as error:
            if not self._started:
                raise
            if not await self._end_broken(error, send):
                return
        await self._start(send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, frames: AsyncIterator[bytes], send: Send) -> None:
        async for frame in frames:
            await self._start(send)
            await send({"type": "http.response.body", "body": frame, "more_body": True})

    async def _end_broken(self, error: InferenceError, send: Send) -> bool:
        """Say that the stream broke off; return whether its body is complete with that."""
        await send({"type": "http.response.body", "body": self._error_frame(error), "more_body": True})
        return True

    async def _start(self, send: Send) -> None:
        if not self._started:
            self._started = True
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})


class FlowingBody(EventStream):
    """Sends any body as it comes. Where it breaks off the connection does, too: nothing in it could say so."""

    def __init__(self, source: AbstractAsyncContextManager[AsyncIterator[bytes]], stopping: asyncio.Event, media_type: str) -> None:
        super().__init__(source, stopping, _no_frame)
        self.headers["content-type"] = media_type

    async def _end_broken(self, error: InferenceError, send: Send) -> bool:  # noqa: ARG002 - as its parent has it
        """Leave the body incomplete, so that the client's library notices."""
        return False


def _no_frame(error: InferenceError) -> bytes:
    raise error
