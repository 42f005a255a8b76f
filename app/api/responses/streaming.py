"""Responses as streams of events: to the caller that waits, and to whoever comes back to one that is stored."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from fastapi.sse import format_sse_event
from pydantic_core import to_json

from app.api.calls import output_of
from app.api.chunks import padded
from app.api.hang_up import attached
from app.api.responses.chats import in_its_terms
from app.api.responses.events import Event, ResponseEvents
from app.api.responses.stored import Stored, of_job
from app.api.sse import EventStream
from app.api.standing import with_comments
from app.errors import InferenceError
from app.jobs.record import JobState

if TYPE_CHECKING:
    from app.api.services import Services
    from app.jobs.streams import StreamEntry

__all__ = ["ResponseStream", "is_gone"]

_FROM_THE_BEGINNING = -1


class ResponseStream:
    """One reader's stream of a response.

    Args:
        services: Of this process.
        stored: The response.
        after: The number of the last event that the reader has seen.
        obfuscates: Pad deltas to even sizes.
    """

    def __init__(self, services: Services, stored: Stored, *, after: int = _FROM_THE_BEGINNING, obfuscates: bool = False) -> None:
        self._services = services
        self._job_id = stored.job.id
        self._events = ResponseEvents(stored)
        self._after = after
        self._obfuscates = obfuscates
        self._begun = False

    def waited(self) -> EventStream:
        """Return it to the caller that the response is made for: nobody else waiting, its hanging up is the response's end."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
            first_s = self._services.pace.first_byte_s
            async with attached(self._services, self._job_id) as waiter, aclosing(self._frames(waiter, first_s)) as frames:
                yield frames

        return EventStream(opened(), self._services.stopping, self._broken)

    def followed(self) -> EventStream:
        """Return it to somebody whose hanging up is nothing to the response."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
            async with (
                aclosing(self._services.gateway.follow(self._job_id)) as entries,
                aclosing(self._frames(entries, 0)) as frames,
            ):
                yield frames

        return EventStream(opened(), self._services.stopping, self._broken)

    async def _frames(self, entries: AsyncIterator[StreamEntry], first_s: float) -> AsyncGenerator[bytes]:
        """Yield the frames. Until *first_s* have passed, or something is said, a failure still gets a status of its own."""
        glances, pace = self._services.gateway.glances, self._services.pace
        if not first_s:
            for frame in self._begin():
                yield frame
        async with aclosing(with_comments(entries, glances, self._job_id, pace, first_s=first_s)) as paced:
            async for entry in paced:
                if isinstance(entry, bytes):
                    frames = [*self._begin(), entry]
                else:
                    begun = self._begin() if entry.type == "tokens" else []
                    frames = [*begun, *self._shown(self._events.heard(entry))]
                for frame in frames:
                    yield frame
        for frame in await self._end():
            yield frame

    def _begin(self) -> list[bytes]:
        if self._begun:
            return []
        self._begun = True
        return self._shown(self._events.begin())

    async def _end(self) -> list[bytes]:
        gateway = self._services.gateway
        stored = await of_job(gateway, self._job_id)
        if stored.job.state is JobState.SUCCEEDED:
            chat = await stored.chat(gateway)
            return [*self._begin(), *self._shown(self._events.end(stored, chat))]
        if not self._begun:
            with in_its_terms({}):
                await output_of(gateway, self._job_id)  # raises what it ended with
        return self._shown(self._events.fail(stored))

    def _shown(self, events: list[Event]) -> list[bytes]:
        return [self._frame(event) for event in events if event["sequence_number"] > self._after]

    def _frame(self, event: Event) -> bytes:
        shown = padded(event) if self._obfuscates and event["type"].endswith(".delta") else event
        return format_sse_event(data_str=to_json(shown).decode(), event=event["type"])

    def _broken(self, error: InferenceError) -> bytes:
        return self._frame(self._events.broken(error))


async def is_gone(services: Services, job_id: str) -> bool:
    """Return whether the stream of a job is no longer kept."""
    async with aclosing(services.gateway.follow(job_id)) as entries:
        return (await anext(entries)).id == "0-0"
