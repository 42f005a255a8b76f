"""``POST /v1/audio/transcriptions`` and ``/v1/audio/translations``: a recording becomes text, whole or streamed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.sse import format_sse_event
from pydantic_core import from_json, to_json

from app.api.answers import Transcription
from app.api.calls import Call, answer, output_of, read_call, submit
from app.api.chunks import DONE, error_frame
from app.api.describe import CALL_HEADERS, called, takes
from app.api.hang_up import attached
from app.api.recordings import kept_recording
from app.api.services import Services, ServicesDep
from app.api.sse import EventStream
from app.api.standing import with_comments
from app.audio.joining import joined_text
from app.jobs.audio_requests import form_fields
from app.jobs.feed import Waiter
from app.jobs.record import JobKind, JobState

__all__ = ["read_recording", "router"]

router = APIRouter(prefix="/v1/audio")


@router.post(
    "/transcriptions",
    responses=called(Transcription, "text/plain", "text/vtt", "application/x-subrip", chunk="TranscriptEvent"),
    openapi_extra=takes("TranscriptionForm", headers=CALL_HEADERS, media_type="multipart/form-data"),
)
async def create_transcription(request: Request, services: ServicesDep) -> Response:
    """Write down what is said in a recording."""
    call = await read_recording(request, JobKind.TRANSCRIPTION, services)
    if not call.streams:
        return await answer(request, call, services)
    job_id = await submit(request, call.job, services.gateway)
    return EventStream(_stream(services, job_id), services.stopping, error_frame)


@router.post(
    "/translations",
    responses=called(Transcription, "text/plain", "text/vtt", "application/x-subrip"),
    openapi_extra=takes("TranslationForm", headers=CALL_HEADERS, media_type="multipart/form-data"),
)
async def create_translation(request: Request, services: ServicesDep) -> Response:
    """Write down in English what is said in a recording."""
    return await answer(request, await read_recording(request, JobKind.TRANSLATION, services), services)


async def read_recording(request: Request, kind: JobKind, services: Services) -> Call:
    """Keep the form's file in the spool, and turn its fields into a call."""
    async with kept_recording(request, services) as kept:
        call = await read_call(request, form_fields(kept.fields) | {"file": kept.facts}, kind, services)
    return Call(job=kept.of(call.job), preference=call.preference)


@asynccontextmanager
async def _stream(services: Services, job_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """Wait on the job for as long as its events are read."""
    async with attached(services, job_id) as waiter, aclosing(_events(services, job_id, waiter)) as events:
        yield events


async def _events(services: Services, job_id: str, waiter: Waiter) -> AsyncGenerator[bytes]:
    """Yield the frames of OpenAI's events: the text as it comes to stand, at last all of it."""
    told = _Told(services, job_id)
    pace, glances = services.pace, services.gateway.glances
    async with aclosing(with_comments(waiter, glances, job_id, pace, first_s=pace.first_byte_s)) as entries:
        async for entry in entries:
            if isinstance(entry, bytes):
                yield entry
            elif entry.type == "tokens" and entry.text:
                yield _frame({"type": "transcript.text.delta", "delta": entry.text})
            elif entry.child is not None and entry.child.state is JobState.SUCCEEDED:
                async for delta in told.chunk_ended(entry.child.number):
                    yield _frame({"type": "transcript.text.delta", "delta": delta})
    output = await output_of(services.gateway, job_id)
    whole = from_json(output.content) if output.media_type == "application/json" else {"text": output.content.decode().rstrip("\n")}
    job = await services.gateway.get(job_id)
    yield _frame({"type": "transcript.text.done", "text": whole["text"], "usage": job.usage})
    yield DONE


class _Told:
    """What has been told of a long recording's text: chunks end in any order, and are told in theirs."""

    def __init__(self, services: Services, job_id: str) -> None:
        self._services = services
        self._job_id = job_id
        self._text = ""
        self._next = 0
        self._ended: set[int] = set()

    async def chunk_ended(self, number: int) -> AsyncGenerator[str]:
        """Yield what can be told now that chunk *number* has been heard."""
        self._ended.add(number)
        while self._next in self._ended:
            self._ended.remove(self._next)
            output = await output_of(self._services.gateway, f"{self._job_id}.{self._next}")
            self._next += 1
            longer = joined_text((self._text, from_json(output.content)["text"]))
            if delta := longer[len(self._text) :]:
                self._text = longer
                yield delta


def _frame(event: dict[str, Any]) -> bytes:
    return format_sse_event(data_str=to_json(event).decode())
