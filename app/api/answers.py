"""What OpenAI's routes answer with, as types: for the OpenAPI document alone.

The worker writes whole answers and ``chunks.py`` writes streamed ones; neither
goes through these types on its way out, so they cost no request anything.
Tests hold what is written against them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

__all__ = [
    "AnthropicError",
    "DownloadReport",
    "EmbeddingList",
    "OpenAIError",
    "Problem",
    "SpeechEvent",
    "TokenCount",
    "TranscriptEvent",
    "Transcription",
]


class Embedding(BaseModel):
    """One vector."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str = Field(
        description="Numbers; or base64 of little-endian 32-bit floats, where encoding_format asks for it."
    )


class EmbeddingUsage(BaseModel):
    """What embeddings took, in tokens."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """A vector for each input, in order."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class DownloadReport(BaseModel):
    """What a download brought."""

    model: str
    repo: str
    bytes: int
    seconds: float
    path: str = Field(description="The folder on the server's machine.")


class TokenCount(BaseModel):
    """How many tokens a chat's prompt has: what a job of kind ``count`` makes."""

    input_tokens: int


class OpenAIErrorFacts(BaseModel):
    """What went wrong on a route of OpenAI's."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None = Field(description="The parameter at fault.")
    code: str = Field(description="Stable; the response's description lists them.")


class OpenAIError(BaseModel):
    """An error on OpenAI's routes, as its clients know it."""

    error: OpenAIErrorFacts


class AnthropicErrorDetails(BaseModel):
    """What programs can tell an error by."""

    error_code: str = Field(description="Stable; the response's description lists them.")


class AnthropicErrorFacts(BaseModel):
    """What went wrong on a route of Anthropic's."""

    type: Literal[
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "not_found_error",
        "conflict_error",
        "request_too_large",
        "overloaded_error",
        "timeout_error",
        "api_error",
    ]
    message: str = Field(description="With the parameter at fault, where one is.")
    details: AnthropicErrorDetails


class AnthropicError(BaseModel):
    """An error on Anthropic's routes, as its clients know it; an `error` event of a stream is the same."""

    type: Literal["error"]
    error: AnthropicErrorFacts
    request_id: str


class Problem(BaseModel):
    """An error on our own routes: problem details (RFC 9457)."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable; the response's description lists them.")
    param: str | None = Field(None, description="The parameter at fault.")
    missing: list[str] | None = Field(None, description="Of /ready: a code for everything that is missing.")


class HeardSeconds(BaseModel):
    """What a transcription is counted by."""

    type: Literal["duration"]
    seconds: int


class HeardSegment(BaseModel):
    """A stretch of a transcript. Numbers that a model does not say are 0."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class HeardWord(BaseModel):
    """A word and when it is spoken, in seconds."""

    word: str
    start: float
    end: float


class Transcription(BaseModel):
    """``json`` and ``verbose_json``; all but the first two fields are of the latter alone."""

    text: str
    usage: HeardSeconds
    task: Literal["transcribe", "translate"] | None = None
    language: str | None = Field(None, description="What was spoken, in English; empty where nobody speaks.")
    duration: float | None = Field(None, description="Of the recording, in seconds.")
    segments: list[HeardSegment] | None = None
    words: list[HeardWord] | None = None
    warnings: list[str] | None = Field(None, description="Places where the text may be wrong, and why; left out where there are none.")


class TranscriptEvent(BaseModel):
    """An event of a streamed transcript."""

    type: Literal["transcript.text.delta", "transcript.text.done"]
    delta: str | None = None
    text: str | None = None
    usage: HeardSeconds | None = None


class SpeechTokens(BaseModel):
    """What a speech is counted by."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class SpeechEvent(BaseModel):
    """An event of streamed speech."""

    type: Literal["speech.audio.delta", "speech.audio.done"]
    audio: str | None = Field(None, description="A piece of the encoded sound, in base64.")
    usage: SpeechTokens | None = None
