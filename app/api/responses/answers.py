"""What the routes for responses answer with, as types: for the OpenAPI document alone, as :mod:`app.api.answers` says."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.text_answers import DrawnToken, ReasoningTokens

__all__ = ["InputTokens", "ResponseDeleted", "ResponseEvent", "ResponseInput", "ResponseObject"]

ItemStatus = Literal["in_progress", "completed", "incomplete"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class OutputText(BaseModel):
    """What was said."""

    type: Literal["output_text"]
    text: str
    annotations: list[None]
    logprobs: list[DrawnToken]


class ReasoningText(BaseModel):
    """What was thought."""

    type: Literal["reasoning_text"]
    text: str


class MessageItem(BaseModel):
    """What the assistant says."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: ItemStatus
    content: list[OutputText]


class ReasoningItem(BaseModel):
    """What the model thought before it went on."""

    id: str
    type: Literal["reasoning"]
    status: ItemStatus
    summary: list[None]
    content: list[ReasoningText]


class FunctionCallItem(BaseModel):
    """A call of a function."""

    id: str
    type: Literal["function_call"]
    status: ItemStatus
    call_id: str = Field(description="What its answer names.")
    name: str
    namespace: str | None = None
    arguments: str = Field(description="A JSON object, as text.")


class CustomCallItem(BaseModel):
    """A call of a custom tool."""

    id: str
    type: Literal["custom_tool_call"]
    call_id: str = Field(description="What its answer names.")
    name: str
    namespace: str | None = None
    input: str


OutputItem = MessageItem | ReasoningItem | FunctionCallItem | CustomCallItem


class CachedInput(BaseModel):
    """Details of an input's tokens."""

    cached_tokens: int = Field(description="Those that did not have to be computed again.")
    cache_write_tokens: int = Field(description="Not counted: always 0.")


class ResponseUsage(BaseModel):
    """What a response took, in tokens."""

    input_tokens: int
    input_tokens_details: CachedInput
    output_tokens: int
    output_tokens_details: ReasoningTokens
    total_tokens: int


class ResponseFailure(BaseModel):
    """Why there is no answer."""

    code: str = Field(description="One of OpenAI's.")
    message: str
    param: str | None
    type: str = Field(description="Our own code for it, which is stable.")


class IncompleteDetails(BaseModel):
    """Why an answer broke off."""

    reason: Literal["max_output_tokens"]


class ReasoningEcho(BaseModel):
    """What was asked about thinking."""

    effort: Effort | None
    summary: str | None


class TextEcho(BaseModel):
    """What was asked about the answer's form."""

    format: dict[str, Any]
    verbosity: str | None = None


class ResponseObject(BaseModel):
    """A response, and what it was asked for."""

    id: str
    object: Literal["response"]
    created_at: int = Field(description="Unix seconds.")
    completed_at: int | None = Field(description="Unix seconds.")
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    error: ResponseFailure | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: None
    metadata: dict[str, str]
    model: str
    output: list[OutputItem]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: ReasoningEcho
    safety_identifier: str | None
    service_tier: Literal["auto", "default", "flex", "priority"]
    store: bool
    temperature: float | None = Field(description="Null: the model's own.")
    text: TextEcho
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]] = Field(description="Those that the model may call; without those that nobody runs here.")
    top_logprobs: int
    top_p: float | None = Field(description="Null: the model's own.")
    truncation: Literal["disabled"]
    usage: ResponseUsage | None
    user: str | None


class ResponseEvent(BaseModel):
    """An event of a streamed response. Which fields it has follows from its type, as OpenAI documents it."""

    type: Literal[
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
        "response.output_item.done",
        "response.completed",
        "response.incomplete",
        "response.failed",
        "error",
    ]
    sequence_number: int = Field(description="From 0; what `starting_after` names.")
    response: ResponseObject | None = None
    output_index: int | None = None
    item_id: str | None = None
    item: OutputItem | None = None
    content_index: int | None = None
    part: OutputText | ReasoningText | None = None
    delta: str | None = None
    text: str | None = None
    arguments: str | None = None
    input: str | None = None
    logprobs: list[dict[str, Any]] | None = None
    code: str | None = Field(None, description="Of an error.")
    message: str | None = Field(None, description="Of an error.")
    param: str | None = Field(None, description="Of an error.")
    obfuscation: str | None = Field(None, description="Padding, where stream_options.include_obfuscation asks for it.")


class ResponseInput(BaseModel):
    """A page of what a response was made of. The next page is ``after=last_id``."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]] = Field(description="Items, as OpenAI has them.")
    first_id: str | None
    last_id: str | None
    has_more: bool


class InputTokens(BaseModel):
    """How many tokens an input has."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int


class ResponseDeleted(BaseModel):
    """A response that is gone."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True
