"""Anthropic's message, made of the chat completion that a job has as its output; and what it is, as types. Pure.

The types are for the OpenAPI document alone, as :mod:`app.api.answers` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field, JsonValue
from pydantic_core import from_json

__all__ = ["Message", "MessageEvent", "TokenCount", "message_id", "message_of", "stop_of", "usage_of"]

StopReason = Literal["end_turn", "max_tokens", "model_context_window_exceeded", "stop_sequence", "tool_use"]

_REASONS: Mapping[str, StopReason] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class TextAnswer(BaseModel):
    """What the model said."""

    type: Literal["text"]
    text: str


class ThinkingAnswer(BaseModel):
    """What the model thought."""

    type: Literal["thinking"]
    thinking: str = Field(description="Empty where `thinking.display` is `omitted`.")
    signature: str = Field(description="Names the message. Nothing checks it.")


class ToolUse(BaseModel):
    """A call of a tool."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, JsonValue]


class ThinkingTokens(BaseModel):
    """Details of an answer's tokens."""

    thinking_tokens: int


class MessageUsage(BaseModel):
    """What an answer took, in tokens."""

    input_tokens: int = Field(description="Of the prompt, those that had to be computed.")
    cache_read_input_tokens: int = Field(description="The others.")
    cache_creation_input_tokens: int = Field(description="Always 0: what is kept of a prompt costs nothing extra.")
    output_tokens: int
    output_tokens_details: ThinkingTokens


class Message(BaseModel):
    """A whole answer."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[ThinkingAnswer | TextAnswer | ToolUse]
    stop_reason: StopReason | None = Field(description="Null in `message_start` alone.")
    stop_sequence: str | None
    usage: MessageUsage


class BlockDelta(BaseModel):
    """What is added to a block."""

    type: Literal["text_delta", "thinking_delta", "signature_delta", "input_json_delta"]
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = Field(None, description="A piece of the call's input, which is one JSON text.")


class MessageEnd(BaseModel):
    """Why an answer ended."""

    stop_reason: StopReason
    stop_sequence: str | None


class MessageEvent(BaseModel):
    """An event of a streamed message. Its `event` is its type."""

    type: Literal[
        "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop", "ping"
    ]
    message: Message | None = None
    index: int | None = None
    content_block: ThinkingAnswer | TextAnswer | ToolUse | None = None
    delta: BlockDelta | MessageEnd | None = None
    usage: MessageUsage | None = None


class TokenCount(BaseModel):
    """How many tokens a prompt has."""

    input_tokens: int


def message_id(completion_id: str) -> str:
    """Return the id of the message that a chat completion becomes."""
    return f"msg_{completion_id.partition('-')[2]}"


def message_of(completion: Mapping[str, Any], *, max_tokens: int, shows_thinking: bool) -> dict[str, Any]:
    """Return the message that *completion* is.

    Args:
        completion: A job's output.
        max_tokens: That were asked for.
        shows_thinking: Whether the caller wants to read what was thought.
    """
    own_id, (choice, *_) = message_id(completion["id"]), completion["choices"]
    said = choice["message"]
    content: list[dict[str, Any]] = []
    if thought := said.get("reasoning_content"):
        content.append({"type": "thinking", "thinking": thought if shows_thinking else "", "signature": own_id})
    if said["content"]:
        content.append({"type": "text", "text": said["content"]})
    for call in said.get("tool_calls") or ():
        function = call["function"]
        content.append({"type": "tool_use", "id": call["id"], "name": function["name"], "input": _input(function["arguments"])})
    return {
        "id": own_id,
        "type": "message",
        "role": "assistant",
        "model": completion["model"],
        "content": content,
        **stop_of(completion, max_tokens),
        "usage": usage_of(completion["usage"]),
    }


def _input(arguments: str) -> dict[str, Any]:
    """Return a call's arguments. Those of a call that the end of the answer cut off are there as far as they came."""
    try:
        given = from_json(arguments, allow_partial=True)
    except ValueError:
        return {}
    return given if isinstance(given, dict) else {}


def stop_of(completion: Mapping[str, Any], max_tokens: int) -> dict[str, Any]:
    """Return why a completion ended, for which *max_tokens* were asked."""
    choice, told = completion["choices"][0], completion["choices"][0]["finish_reason"]
    matched = choice.get("stop_reason") if told == "stop" else None
    reason: StopReason = "stop_sequence" if matched is not None else _REASONS[told]
    if told == "length" and completion["usage"]["completion_tokens"] < max_tokens:
        reason = "model_context_window_exceeded"
    return {"stop_reason": reason, "stop_sequence": matched}


def usage_of(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chat's usage in Anthropic's terms: there, what a cache gave is not part of the input."""
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return {
        "input_tokens": usage["prompt_tokens"] - cached,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"thinking_tokens": usage["completion_tokens_details"]["reasoning_tokens"]},
    }
