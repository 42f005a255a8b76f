"""Responses that are kept: found by their ids, and shown as they stand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

from app.api.calls import output_of
from app.api.errors import status_of
from app.api.responses.chats import NOTES, in_its_terms, renamed
from app.api.responses.output import output_of_chat, response_id, usage_of
from app.api.responses.tools import Offered, offered_by, shown_tools
from app.api.responses.turns import answered, without_instructions
from app.errors import Failure, InvalidRequest, JobNotFound, ResponseNotFound
from app.jobs.gateway import JobGateway
from app.jobs.reading import Output
from app.jobs.record import JSON_TYPE, Job, JobKind, JobState, Lane

__all__ = ["Stored", "find", "of_job", "shown"]

_ID = re.compile(r"resp_([0-9a-f]{24})")

_STATUS = {JobState.QUEUED: "queued", JobState.RUNNING: "in_progress", JobState.FAILED: "failed", JobState.CANCELED: "cancelled"}
_CODES = {
    "context_length_exceeded": "context_length_exceeded",  # agents shorten their conversation for it
    "unreadable_image": "invalid_image",
    "image_too_large": "image_too_large",
    "image_not_fetched": "failed_to_download_image",
}
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Stored:
    """The job that a response is, and what was asked of it."""

    job: Job
    request: Mapping[str, Any]
    blobs: tuple[str, ...]

    @property
    def notes(self) -> Mapping[str, Any]:
        """What was asked beyond the chat."""
        found: Mapping[str, Any] = self.request[NOTES]
        return found

    @property
    def background(self) -> bool:
        """Whether its caller asked not to wait."""
        return bool(self.notes.get("background"))

    @property
    def instructions(self) -> str | None:
        """What its caller put before everything."""
        length = self.notes.get("instructions")
        return str(self.request["messages"][0]["content"])[:length] if length else None

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The turns that it answers, without the instructions."""
        return without_instructions(self.request["messages"], self.instructions)

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The tools that it may call, as its caller sent them."""
        return shown_tools(self.request, self.notes)

    @property
    def offered(self) -> dict[str, Offered]:
        """The same, by the chat's name for each."""
        return offered_by(self.tools)

    async def chat(self, gateway: JobGateway) -> dict[str, Any]:
        """Return the chat that it has ended with; as :func:`~app.api.calls.output_of` it raises what it failed with."""
        found: dict[str, Any] = from_json((await output_of(gateway, self.job.id)).content)
        return found

    async def turns(self, gateway: JobGateway) -> list[dict[str, Any]]:
        """Return the turns that another response goes on from.

        Raises:
            InvalidRequest: It has not ended, or ended without an answer.
        """
        if self.job.state is not JobState.SUCCEEDED:
            param, status = "previous_response_id", _STATUS[self.job.state]
            message = f"`{param}` names a response that is {status}; only one that has an answer can be gone on from."
            raise InvalidRequest(message, param=param)
        return [*self.messages, answered((await self.chat(gateway))["choices"][0]["message"])]

    def show(self, status: str, **facts: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a response
        """Return the response's body; *facts* are of its end."""
        request, notes = self.request, self.notes
        ended = self.job.finished_at
        return {
            "id": response_id(self.job.id),
            "object": "response",
            "created_at": int(self.job.created_at.timestamp()),
            "completed_at": int(ended.timestamp()) if ended and status in {"completed", "incomplete"} else None,
            "status": status,
            "background": self.background,
            "error": None,
            "incomplete_details": None,
            "instructions": self.instructions,
            "max_output_tokens": request.get("max_completion_tokens"),
            "max_tool_calls": None,
            "metadata": notes.get("metadata") or {},
            "model": self.job.model,
            "output": [],
            "parallel_tool_calls": request.get("parallel_tool_calls", True),
            "previous_response_id": notes.get("previous_response_id"),
            "prompt_cache_key": notes.get("prompt_cache_key"),
            "reasoning": {"effort": None, "summary": None, **(notes.get("reasoning") or {})},
            "safety_identifier": notes.get("safety_identifier"),
            "service_tier": _tier(self.job, notes),
            "store": notes.get("store", True),
            "temperature": request.get("temperature"),
            "text": {"format": _format(request.get("response_format")), **(notes.get("text") or {})},
            "tool_choice": _choice(request.get("tool_choice") or "auto", self.offered),
            "tools": self.tools,
            "top_logprobs": request.get("top_logprobs", 0),
            "top_p": request.get("top_p"),
            "truncation": "disabled",
            "usage": None,
            "user": notes.get("user"),
        } | facts

    def show_answer(self, chat: Mapping[str, Any], output: Sequence[Mapping[str, Any]] | None = None) -> dict[str, Any]:
        """Return the body with the answer that *chat* has, or with *output*, where it came in that order."""
        choice = chat["choices"][0]
        cut = choice["finish_reason"] == "length"
        return self.show(
            "incomplete" if cut else "completed",
            incomplete_details={"reason": "max_output_tokens"} if cut else None,
            output=[*output] if output is not None else output_of_chat(self.job.id, choice, self.offered),
            usage=usage_of(chat["usage"]),
        )

    def show_end(self, output: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """Return the body without an answer: it waits, runs, failed or was cancelled."""
        return self.show(_STATUS[self.job.state], error=_error(self.job.error), output=[*output])


async def of_job(gateway: JobGateway, job_id: str) -> Stored:
    """Return the response that a job is.

    Raises:
        JobNotFound: There is no such job.
        ResponseNotFound: It is no response, but another kind of work.
    """
    past = await gateway.past(job_id, lambda jobs: jobs.get(job_id))
    if past.job.kind is not JobKind.CHAT or NOTES not in past.request:
        raise ResponseNotFound(response_id(job_id))
    return Stored(*past)


async def find(gateway: JobGateway, wanted: str, *, param: str | None = None) -> Stored:
    """Return a stored response.

    Raises:
        ResponseNotFound: There is none of this id.
    """
    match = _ID.fullmatch(wanted)
    if match is None:
        raise ResponseNotFound(wanted, param=param)
    try:
        stored = await of_job(gateway, f"job_{match[1]}")
    except (JobNotFound, ResponseNotFound):
        raise ResponseNotFound(wanted, param=param) from None
    if stored.notes.get("store") is False:
        raise ResponseNotFound(wanted, param=param)
    return stored


async def shown(gateway: JobGateway, job_id: str) -> Output:
    """Return the body of a response that has ended; a failure is raised as such, as it is of a chat."""
    stored = await of_job(gateway, job_id)
    with in_its_terms({}):
        chat = await stored.chat(gateway)
    return Output(to_json(stored.show_answer(chat)), JSON_TYPE)


def _error(failure: Failure | None) -> dict[str, Any] | None:
    """Return a failure with one of OpenAI's codes; our own, which says more, is its type."""
    if failure is None:
        return None
    fact = renamed(failure)
    code = _CODES.get(fact.code) or ("server_error" if status_of(fact.code) >= _SERVER_ERROR else "invalid_prompt")
    return {"code": code, "message": fact.message, "param": fact.param, "type": fact.code}


def _tier(job: Job, notes: Mapping[str, Any]) -> str:
    asked = str(notes.get("service_tier") or "auto")
    return "default" if asked == "auto" and job.lane is Lane.INTERACTIVE else asked


def _format(chat: Mapping[str, Any] | None) -> dict[str, Any]:
    if chat is None or chat["type"] != "json_schema":
        return dict(chat or {"type": "text"})
    return {"type": "json_schema", "name": "answer", **chat["json_schema"]}


def _choice(chat: Any, offered: Mapping[str, Offered]) -> Any:  # noqa: ANN401 - a word or an object
    """Return a chat's ``tool_choice`` as its caller sent it."""
    if isinstance(chat, str):
        return chat
    if chat["type"] == "allowed_tools":
        allowed = chat["allowed_tools"]
        return {"type": "allowed_tools", "mode": allowed["mode"], "tools": [_choice(tool, offered) for tool in allowed["tools"]]}
    name = chat["function"]["name"]
    tool = offered.get(name, Offered("function", name))
    return {"type": tool.kind, "name": tool.name}
