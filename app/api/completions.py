"""``POST /v1/chat/completions`` and ``POST /v1/completions``, whole or streamed."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from fastapi import APIRouter, Request, Response
from pydantic_core import from_json

from app.api.body import JsonBody
from app.api.calls import Call, answer, output_of, read_call, submit
from app.api.chunks import DONE, ChatChunks, Chunks, CompletionChunks, Envelope, error_frame
from app.api.describe import CALL_HEADERS, called, takes
from app.api.hang_up import attached
from app.api.services import Services, ServicesDep
from app.api.sse import EventStream
from app.api.standing import with_comments
from app.api.text_answers import ChatCompletion, TextCompletion
from app.jobs.feed import Waiter
from app.jobs.record import JobKind

__all__ = ["router"]

router = APIRouter()


@router.post(
    "/v1/chat/completions",
    responses=called(ChatCompletion, chunk="ChatCompletionChunk"),
    openapi_extra=takes("ChatRequest", headers=CALL_HEADERS),
)
async def create_chat_completion(request: Request, body: JsonBody, services: ServicesDep) -> Response:
    """Answer a chat, streamed or whole."""
    return await _complete(request, await read_call(request, body, JobKind.CHAT, services), services)


@router.post(
    "/v1/completions",
    responses=called(TextCompletion, chunk="TextCompletionChunk"),
    openapi_extra=takes("CompletionRequest", headers=CALL_HEADERS),
)
async def create_completion(request: Request, body: JsonBody, services: ServicesDep) -> Response:
    """Go on with a text, or several; streamed or whole."""
    return await _complete(request, await read_call(request, body, JobKind.COMPLETION, services), services)


async def _complete(request: Request, call: Call, services: Services) -> Response:
    if not call.streams:
        return await answer(request, call, services)
    job_id = await submit(request, call.job, services.gateway)
    return EventStream(_stream(services, call, job_id), services.stopping, error_frame)


@asynccontextmanager
async def _stream(services: Services, call: Call, job_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """Wait on the job for as long as its chunks are read."""
    async with attached(services, job_id) as waiter, aclosing(_chunks(services, call, job_id, waiter)) as chunks:
        yield chunks


async def _chunks(services: Services, call: Call, job_id: str, waiter: Waiter) -> AsyncGenerator[bytes]:
    """Yield the frames of one answer. A rescued job's entries go on where the last attempt stopped, and so does this."""
    envelope = Envelope(job_id, call.job.kind, call.job.model, int(time.time()), call.include_usage, call.obfuscates)
    make: Chunks = ChatChunks(envelope) if call.job.kind is JobKind.CHAT else CompletionChunks(envelope)
    pace, glances = services.pace, services.gateway.glances
    async with aclosing(with_comments(waiter, glances, job_id, pace, first_s=pace.first_byte_s)) as entries:
        async for entry in entries:
            if isinstance(entry, bytes):
                yield entry
            elif entry.type == "tokens" and (entry.text or entry.logprobs or entry.reasoning or entry.calls):
                for frame in make.pieces(entry, with_logprobs=call.wants_logprobs):
                    yield frame
    completion = from_json((await output_of(services.gateway, job_id)).content)
    for choice in completion["choices"]:
        for frame in make.finish(choice["index"], choice["finish_reason"]):
            yield frame
    if call.include_usage:
        yield envelope.usage(completion["usage"])
    yield DONE
