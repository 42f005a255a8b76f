"""What OpenAI's routes answer with, as types: for the OpenAPI document alone.

The worker writes whole answers and ``chunks.py`` writes streamed ones; neither
goes through these types on its way out, so they cost no request anything.
Tests hold what is written against them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

__all__ = [
    "ChatCompletion",
    "ChatCompletionChunk",
    "DownloadReport",
    "EmbeddingList",
    "OpenAIError",
    "Problem",
    "SpeechEvent",
    "TextCompletion",
    "TextCompletionChunk",
    "TranscriptEvent",
    "Transcription",
]

FinishReason = Literal["stop", "length"]


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


class CompletionUsage(BaseModel):
    """What an answer took, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class ChatAnswer(BaseModel):
    """What the model said."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(BaseModel):
    """One answer of a chat."""

    index: int
    message: ChatAnswer
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


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


class OpenAIErrorFacts(BaseModel):
    """What went wrong on a route of OpenAI's."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None = Field(description="The parameter at fault.")
    code: str = Field(description="Stable; the response's description lists them.")


class OpenAIError(BaseModel):
    """An error on OpenAI's routes, as its clients know it."""

    error: OpenAIErrorFacts


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
