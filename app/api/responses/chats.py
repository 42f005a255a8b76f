"""From a checked response request to the chat that it asks for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from app.api.responses.requests import SHARED, ResponseRequest, ResponseTokensRequest, TextFormat
from app.api.responses.tools import chat_choice, chat_tools, left_out
from app.api.responses.turns import Turns
from app.errors import Failure, InferenceError, JobFailed

__all__ = ["NOTES", "Chat", "chat_of", "in_its_terms", "renamed"]

NOTES = "responses"
"""Where a chat's request keeps what only its response has a use for."""

_RENAMED = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
}
_NOTED = (
    *("previous_response_id", "background", "store", "metadata", "user", "safety_identifier", "prompt_cache_key"),
    *("reasoning", "service_tier"),
)


@dataclass(frozen=True, slots=True)
class Chat:
    """The chat that a response is, and what the chat does not say."""

    body: dict[str, Any]
    notes: dict[str, Any]
    origins: Mapping[str, str]  # path in the chat's request -> path in the response's
    left_out: tuple[str, ...]  # tools that nobody runs here


def chat_of(asked: ResponseTokensRequest, sent: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> Chat:
    """Translate.

    Args:
        asked: The request.
        sent: The same as it came, with fields that only chats have.
        earlier: Turns that it goes on from; they are not in the chat's body.

    Raises:
        InvalidRequest: A tool answers a call that nobody made.
    """
    turns = Turns(call["id"] for message in earlier for call in message.get("tool_calls") or ())
    turns.add(asked.input if asked.input is not None else [])
    body: dict[str, Any] = {"model": asked.model, "messages": turns.messages, "parallel_tool_calls": asked.parallel_tool_calls}
    tools, places = chat_tools(asked.tools or ())
    if tools:
        body["tools"] = tools
    body["tool_choice"] = chat_choice(asked.tool_choice, asked.tools or ())
    if asked.reasoning is not None:
        body["reasoning_effort"] = "xhigh" if asked.reasoning.effort == "max" else asked.reasoning.effort
    if asked.text is not None and asked.text.format is not None:
        body["response_format"] = _format(asked.text.format)
    if isinstance(asked, ResponseRequest):
        body |= _drawing(asked)
    body = {name: value for name, value in body.items() if value is not None}
    body |= {name: sent[name] for name in SHARED if sent.get(name) is not None}
    origins = turns.origins | {f"tools.{number}": where for number, where in enumerate(places)}
    return Chat(body, _notes(asked, sent), origins, left_out(asked.tools or ()))


def _drawing(asked: ResponseRequest) -> dict[str, Any]:
    """Return the fields that say how the answer is drawn and sent."""
    return {
        "max_completion_tokens": asked.max_output_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "logprobs": asked.wants_logprobs or None,
        "top_logprobs": asked.top_logprobs or None,
        "stream": asked.stream,
        "stream_options": asked.stream_options.model_dump(exclude_unset=True) if asked.stream_options else None,
        "service_tier": asked.service_tier,
    }


def _format(asked: TextFormat) -> dict[str, Any] | None:
    if asked.type == "text":
        return None
    if asked.type == "json_object":
        return {"type": "json_object"}
    facts = {"name": asked.name, "description": asked.description, "schema": asked.schema_, "strict": asked.strict}
    return {"type": "json_schema", "json_schema": {name: fact for name, fact in facts.items() if fact is not None}}


def _notes(asked: ResponseTokensRequest, sent: Mapping[str, Any]) -> dict[str, Any]:
    notes = {name: sent[name] for name in _NOTED if sent.get(name) is not None}
    notes["text"] = {"verbosity": asked.text.verbosity} if asked.text and asked.text.verbosity else None
    notes["instructions"] = len(asked.instructions or "") or None  # characters of the first turn
    if any(tool.type != "function" for tool in asked.tools or ()):  # else the chat's tools say as much
        notes["tools"] = [tool for tool, its in zip(sent["tools"], asked.tools or (), strict=True) if not left_out([its])]
    return {name: note for name, note in notes.items() if note is not None}


@contextmanager
def in_its_terms(origins: Mapping[str, str]) -> Iterator[None]:
    """Let errors about the chat name fields of the response."""
    try:
        yield
    except JobFailed as error:
        error.failure = renamed(error.failure, origins)
        error.message, error.param = error.failure.message, error.failure.param
        raise
    except InferenceError as error:
        fact = renamed(error.as_fact(), origins)
        error.message, error.param = fact.message, fact.param
        raise


def renamed(fact: Failure, origins: Mapping[str, str] | None = None) -> Failure:
    """Return *fact* with the response's name for what is at fault."""
    if fact.param is None:
        return fact
    param = _path(fact.param, origins or {})
    return Failure(code=fact.code, message=fact.message.replace(f"`{fact.param}`", f"`{param}`"), param=param)


def _path(param: str, origins: Mapping[str, str]) -> str:
    parts = param.split(".")
    for length in range(len(parts), 0, -1):
        if known := origins.get(".".join(parts[:length])):
            rest = [part for part in parts[length:] if part != "function"]  # tools are flat there
            return ".".join([known, *rest])
    head, *rest = parts
    if head == "response_format":
        rest = [part for part in rest if part != "json_schema"]
    return ".".join([_RENAMED.get(head, head), *(rest if head != "messages" else [])])
