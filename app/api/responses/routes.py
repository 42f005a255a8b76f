"""``/v1/responses``: made whole, streamed or in the background; fetched, followed, cancelled and deleted later."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from app.api.body import JsonBody
from app.api.calls import Call, answer, read_call, submit
from app.api.counting import count_tokens
from app.api.describe import CALL_HEADERS, JOB_ERRORS, STORE_ERRORS, SUBMISSION_ERRORS, as_json, called, errors, event_stream, ref, takes
from app.api.responses.answers import InputTokens, ResponseDeleted, ResponseInput, ResponseObject
from app.api.responses.chats import chat_of, in_its_terms
from app.api.responses.going_on import earlier_of, going_on
from app.api.responses.history import input_items
from app.api.responses.requests import ResponseRequest, ResponseTokensRequest
from app.api.responses.stored import Stored, find, of_job, shown
from app.api.responses.streaming import ResponseStream, is_gone
from app.api.responses.turns import with_instructions
from app.api.services import Services, ServicesDep
from app.api.validation import validated
from app.errors import IllegalTransition, InvalidRequest
from app.jobs.record import JobKind, JobState
from app.log import get_logger

__all__ = ["router"]

log = get_logger("responses")

router = APIRouter(prefix="/v1/responses", responses=errors(*STORE_ERRORS))

_LEFT_OUT = "X-Tools-Left-Out"
_EVENTS = event_stream(as_json("ResponseEvent"), event={"type": "string"})
_CREATED = called(ResponseObject, codes=("response_not_found",))
_CREATED[200] = {**_CREATED[200], **_EVENTS, "headers": {**_CREATED[200]["headers"], _LEFT_OUT: ref(_LEFT_OUT, "headers")}}


@router.post("", responses=_CREATED, openapi_extra=takes("ResponseRequest", headers=CALL_HEADERS))
async def create_response(request: Request, body: JsonBody, services: ServicesDep) -> Response:
    """Answer a conversation: whole, streamed, or in the background, which is a job of the lane batch."""
    asked = validated(ResponseRequest, body)
    earlier = await earlier_of(services, asked)
    chat = chat_of(asked, body, earlier.turns)
    with in_its_terms(chat.origins):
        call = await read_call(request, chat.body, JobKind.CHAT, services, sent=body, waits=not asked.background)
    call = replace(call, job=await going_on(services, call.job, asked, chat, earlier))
    response = await _respond(request, call, asked, services)
    if chat.left_out:
        log.info("responses.tools_left_out", tools=chat.left_out, job=request.state.job_id)
        response.headers[_LEFT_OUT] = ", ".join(chat.left_out)
    return response


@router.post(
    "/input_tokens",
    responses=errors(*SUBMISSION_ERRORS, *JOB_ERRORS, "response_not_found", "server_stopping"),
    openapi_extra=takes("ResponseTokensRequest", headers=("Cancel-After",)),
)
async def count_input(request: Request, body: JsonBody, services: ServicesDep) -> InputTokens:
    """Count the tokens of a response's input, without making one and without loading its model."""
    asked = validated(ResponseTokensRequest, body)
    earlier = await earlier_of(services, asked)
    chat = chat_of(asked, body, earlier.turns)
    before = await asyncio.to_thread(earlier.as_sent, services.gateway.path_of)
    messages = with_instructions(asked.instructions, [*before, *chat.body["messages"]])
    with in_its_terms(chat.origins):
        return InputTokens(input_tokens=await count_tokens(request, services, {**chat.body, "messages": messages}))


async def _respond(request: Request, call: Call, asked: ResponseRequest, services: Services) -> Response:
    if not (asked.background or call.streams):
        return await answer(request, call, services, shown)
    job_id = await submit(request, call.job, services.gateway)
    stored = await of_job(services.gateway, job_id)
    stream = ResponseStream(services, stored, obfuscates=call.obfuscates)
    if call.streams:
        return stream.waited()
    return stream.followed() if asked.stream else await _shown(services, stored)


async def _shown(services: Services, stored: Stored) -> Response:
    """Return a response as it stands."""
    if stored.job.state is JobState.SUCCEEDED:
        return JSONResponse(stored.show_answer(await stored.chat(services.gateway)))
    return JSONResponse(stored.show_end())


@router.get(
    "/{response_id}",
    responses=errors("invalid_request", "response_not_found", "server_stopping") | {200: {"model": ResponseObject} | _EVENTS},
)
async def show_response(
    response_id: str,
    services: ServicesDep,
    *,
    stream: bool = False,
    starting_after: Annotated[int | None, Query(ge=0, description="The number of the last event seen, of a stream.")] = None,
    include_obfuscation: bool = False,
) -> Response:
    """Return a stored response as it stands, or its events from the beginning, or from one on, to its end."""
    stored = await find(services.gateway, response_id)
    if not stream:
        return await _shown(services, stored)
    if starting_after is not None and await is_gone(services, stored.job.id):
        message = "The events of this response are no longer kept; fetch it whole, without `stream`."
        raise InvalidRequest(message, param="starting_after")
    after = -1 if starting_after is None else starting_after
    return ResponseStream(services, stored, after=after, obfuscates=include_obfuscation).followed()


@router.post("/{response_id}/cancel", responses=errors("response_not_found") | {200: {"model": ResponseObject}})
async def cancel_response(response_id: str, services: ServicesDep) -> Response:
    """Cancel a response. One that has ended stays as it is, so this may be repeated."""
    stored = await find(services.gateway, response_id)
    await services.gateway.cancel(stored.job.id)
    return await _shown(services, await find(services.gateway, response_id))


@router.delete("/{response_id}", responses=errors("response_not_found", "illegal_transition"))
async def delete_response(response_id: str, services: ServicesDep) -> ResponseDeleted:
    """Delete a response that has ended: its job and everything that was stored with it."""
    stored = await find(services.gateway, response_id)
    try:
        await services.gateway.past(stored.job.id, lambda jobs: jobs.delete(stored.job.id))
    except IllegalTransition:
        raise IllegalTransition(response_id, stored.job.state, "deleted", what="response") from None
    return ResponseDeleted(id=response_id)


@router.get("/{response_id}/input_items", responses=errors("invalid_request", "response_not_found"))
async def list_input(
    response_id: str,
    services: ServicesDep,
    *,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: Annotated[str | None, Query(max_length=128)] = None,
) -> ResponseInput:
    """Return a page of what a response answers: its own input and that of the responses before it; instructions are no part of it."""
    items = input_items(await find(services.gateway, response_id))
    if order == "desc":
        items.reverse()
    ids = [item["id"] for item in items]
    if after is not None and after not in ids:
        message = f"`after` names no item of this response: {after[:80]!r}."
        raise InvalidRequest(message, param="after")
    begin = ids.index(after) + 1 if after else 0
    page = items[begin : begin + limit]
    return ResponseInput(
        data=page,
        first_id=page[0]["id"] if page else None,
        last_id=page[-1]["id"] if page else None,
        has_more=len(items) > begin + limit,
    )
