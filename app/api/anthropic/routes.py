"""``POST /v1/messages``, whole or streamed, and ``POST /v1/messages/count_tokens``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from pydantic_core import from_json, to_json

from app.api.anthropic.answers import Message, TokenCount, message_of
from app.api.anthropic.events import PING, MessageEvents, error_frame
from app.api.anthropic.requests import CountTokensRequest, MessagesRequest
from app.api.anthropic.translation import Chat, chat_of
from app.api.body import JsonBody
from app.api.calls import answer, output_of, read_call, submit
from app.api.counting import count_tokens
from app.api.describe import CALL_HEADERS, JOB_ERRORS, RECEIPT, SUBMISSION_ERRORS, as_json, errors, event_stream, ref, takes
from app.api.hang_up import attached
from app.api.services import Services, ServicesDep
from app.api.sse import KEEP_ALIVE, EventStream
from app.api.standing import with_comments
from app.api.validation import validated
from app.jobs.feed import Waiter
from app.jobs.gateway import JobGateway
from app.jobs.reading import Output
from app.jobs.record import JobKind

__all__ = ["router"]

router = APIRouter()

_EVENTS = event_stream(as_json("MessageEvent", "AnthropicError"), event={"type": "string"})
_ERRORS = errors(*SUBMISSION_ERRORS, *JOB_ERRORS, "server_stopping")


def _answers(model: type[BaseModel], *headers: str, **others: Any) -> dict[int | str, dict[str, Any]]:  # noqa: ANN401 - content of a response
    return {200: {"model": model, "headers": {name: ref(name, "headers") for name in headers}, **others}}


@router.post(
    "/v1/messages",
    responses=_answers(Message, "X-Job-Id", "Preference-Applied", **_EVENTS) | RECEIPT | _ERRORS,
    openapi_extra=takes("MessagesRequest", headers=CALL_HEADERS),
)
async def create_message(request: Request, body: JsonBody, services: ServicesDep) -> Response:
    """Answer a conversation as Anthropic's API does, streamed or whole. The job is a chat."""
    asked = validated(MessagesRequest, body)
    chat = chat_of(asked)
    with chat.told_as_sent():
        call = await read_call(request, chat.body, JobKind.CHAT, services, sent=body)
        if not call.streams:
            return await answer(request, call, services, partial(_whole, asked=asked))
        job_id = await submit(request, call.job, services.gateway)
    events = MessageEvents(job_id, call.job.model, asked.max_tokens, asked.shows_thinking)
    tell = partial(error_frame, request_id=request.state.request_id)
    return EventStream(_stream(services, chat, job_id, events), services.stopping, tell)


@router.post(
    "/v1/messages/count_tokens",
    responses=_answers(TokenCount, "X-Job-Id") | _ERRORS,
    openapi_extra=takes("CountTokensRequest", headers=("Cancel-After",)),
)
async def count_message_tokens(request: Request, body: JsonBody, services: ServicesDep) -> Response:
    """Say how many tokens the prompt of a conversation has, tools and pictures included. No model is loaded for that."""
    chat = chat_of(validated(CountTokensRequest, body))
    with chat.told_as_sent():
        return JSONResponse({"input_tokens": await count_tokens(request, services, chat.body)})


async def _whole(gateway: JobGateway, job_id: str, *, asked: MessagesRequest) -> Output:
    """Return the message that a job's answer is."""
    output = await output_of(gateway, job_id)
    message = message_of(from_json(output.content), max_tokens=asked.max_tokens, shows_thinking=asked.shows_thinking)
    return Output(to_json(message), output.media_type)


@asynccontextmanager
async def _stream(services: Services, chat: Chat, job_id: str, events: MessageEvents) -> AsyncIterator[AsyncIterator[bytes]]:
    """Wait on the job for as long as its events are read."""
    with chat.told_as_sent():
        async with attached(services, job_id) as waiter, aclosing(_frames(services, job_id, events, waiter)) as frames:
            yield frames


async def _frames(services: Services, job_id: str, events: MessageEvents, waiter: Waiter) -> AsyncGenerator[bytes]:
    """Yield the events of one answer, and pings while there are none."""
    pace, glances = services.pace, services.gateway.glances
    async with aclosing(with_comments(waiter, glances, job_id, pace, first_s=pace.first_byte_s)) as entries:
        async for entry in entries:
            if isinstance(entry, bytes):
                yield PING if entry == KEEP_ALIVE else entry + PING
            elif entry.type == "tokens":
                for frame in events.pieces(entry):
                    yield frame
    completion = from_json((await output_of(services.gateway, job_id)).content)
    for frame in events.finish(completion):
        yield frame
