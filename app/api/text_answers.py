"""What the routes for text answer with, as types: for the OpenAPI document alone, as :mod:`app.api.answers` says.

The worker writes whole answers (``actors/outputs.py``), ``chunks.py`` streamed ones.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

__all__ = ["ChatCompletion", "ChatCompletionChunk", "TextCompletion", "TextCompletionChunk"]

FinishReason = Literal["stop", "length", "tool_calls"]


class LikelyToken(BaseModel):
    """A token and the natural logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int]


class DrawnToken(LikelyToken):
    """A token of the answer, with the likeliest ones at its place."""

    top_logprobs: list[LikelyToken]


class ChatLogprobs(BaseModel):
    """How likely the tokens of a chat's answer were."""

    content: list[DrawnToken]
    refusal: None


class TextLogprobs(BaseModel):
    """How likely the tokens of a completion were."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int] = Field(description="Characters before each token.")


class CachedTokens(BaseModel):
    """Details of a prompt's tokens."""

    cached_tokens: int = Field(description="Those that did not have to be computed again.")


class ReasoningTokens(BaseModel):
    """Details of an answer's tokens."""

    reasoning_tokens: int = Field(description="Those that were thought, markup included.")


class CompletionUsage(BaseModel):
    """What an answer took, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens
    completion_tokens_details: ReasoningTokens


class CalledFunction(BaseModel):
    """Which tool is called, and with what."""

    name: str
    arguments: str = Field(description="A JSON object, as text.")


class ToolCall(BaseModel):
    """A call of a tool."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class FunctionDelta(BaseModel):
    """What a chunk adds to a call."""

    name: str | None = Field(None, description="In a call's first piece.")
    arguments: str


class ToolCallDelta(BaseModel):
    """A piece of a call of a tool."""

    index: int
    id: str | None = Field(None, description="In a call's first piece.")
    type: Literal["function"] | None = Field(None, description="In a call's first piece.")
    function: FunctionDelta


class ChatAnswer(BaseModel):
    """What the model said."""

    role: Literal["assistant"]
    content: str | None = Field(description="Null where tools are called and nothing is said.")
    refusal: None
    reasoning_content: str | None = Field(None, description="What the model thought before it answered; there where it thought.")
    tool_calls: list[ToolCall] | None = Field(None, description="There where the model calls tools.")


class ChatChoice(BaseModel):
    """One answer of a chat."""

    index: int
    message: ChatAnswer
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason
    stop_reason: str | None = Field(None, description="The stop string that ended it, where one did.")


class ChatCompletion(BaseModel):
    """A whole chat."""

    id: str
    object: Literal["chat.completion"]
    created: int = Field(description="Unix seconds.")
    model: str
    choices: list[ChatChoice]
    usage: CompletionUsage


class TextChoice(BaseModel):
    """One completion of a text."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: FinishReason
    stop_reason: str | None = Field(None, description="The stop string that ended it, where one did.")


class TextCompletion(BaseModel):
    """A whole completion."""

    id: str
    object: Literal["text_completion"]
    created: int = Field(description="Unix seconds.")
    model: str
    choices: list[TextChoice]
    usage: CompletionUsage


class _Chunk(BaseModel):
    id: str
    created: int = Field(description="Unix seconds.")
    model: str
    system_fingerprint: None
    usage: CompletionUsage | None = Field(None, description="In the last chunk, where stream_options.include_usage asks for it.")
    obfuscation: str | None = Field(None, description="Padding, where stream_options.include_obfuscation asks for it.")


class ChatDelta(BaseModel):
    """What a chunk adds to the answer."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChatChunkChoice(BaseModel):
    """A piece of one answer of a chat."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatCompletionChunk(_Chunk):
    """A piece of a streamed chat."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChatChunkChoice]


class TextChunkChoice(BaseModel):
    """A piece of one completion of a text."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: FinishReason | None


class TextCompletionChunk(_Chunk):
    """A piece of a streamed completion."""

    object: Literal["text_completion"]
    choices: list[TextChunkChoice]
