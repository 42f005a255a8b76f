"""OpenAI's chunks of a streamed answer, as frames: of a chat and of a plain completion. Pure but for the padding."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi.sse import format_sse_event
from pydantic_core import to_json

from app.api.errors import error_body, status_of
from app.errors import InferenceError
from app.jobs.logprobs import TokenLogprob, chat_logprobs, completion_logprobs
from app.jobs.record import JobKind, completion_id

__all__ = ["DONE", "ChatChunks", "Chunks", "CompletionChunks", "Envelope", "error_frame"]

DONE = format_sse_event(data_str="[DONE]")

_EVEN_BYTES = 64


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every chunk of one answer says."""

    job_id: str
    kind: JobKind
    model: str
    created: int  # unix seconds
    include_usage: bool  # then every chunk has the field, all but the last one empty
    obfuscates: bool = False  # then chunks are padded, so that their sizes say little about their text

    def frame(self, choices: list[dict[str, Any]], usage: Mapping[str, Any] | None = None) -> bytes:
        """Return a chunk."""
        chunk: dict[str, Any] = {
            "id": completion_id(self.job_id, self.kind),
            "object": "chat.completion.chunk" if self.kind is JobKind.CHAT else "text_completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": None,
            "choices": choices,
        }
        if self.include_usage:
            chunk["usage"] = usage
        if self.obfuscates and choices:
            missing = -len(to_json({**chunk, "obfuscation": ""})) % _EVEN_BYTES
            chunk["obfuscation"] = secrets.token_hex(_EVEN_BYTES)[:missing]
        return format_sse_event(data_str=to_json(chunk).decode())

    def usage(self, counts: Mapping[str, Any]) -> bytes:
        """The chunk that a caller asks for with ``stream_options.include_usage``."""
        return self.frame([], counts)


class Chunks(Protocol):
    """Makes the chunks of an answer's choices."""

    def begin(self, choice: int) -> list[bytes]:
        """What comes before a choice's first text."""
        ...

    def content(self, choice: int, text: str, logprobs: Sequence[TokenLogprob] | None) -> bytes:
        """The next piece of a choice; *logprobs* is None where nobody asked for them."""
        ...

    def finish(self, choice: int, reason: str) -> bytes:
        """The last chunk of a choice: why it ended."""
        ...


@dataclass(frozen=True, slots=True)
class ChatChunks:
    """``chat.completion.chunk``."""

    envelope: Envelope

    def begin(self, choice: int) -> list[bytes]:
        """Say who speaks."""
        return [self._delta(choice, {"role": "assistant", "content": ""})]

    def content(self, choice: int, text: str, logprobs: Sequence[TokenLogprob] | None) -> bytes:
        """Return the next piece."""
        return self._delta(choice, {"content": text}, None if logprobs is None else chat_logprobs(logprobs))

    def finish(self, choice: int, reason: str) -> bytes:
        """Say why it ended."""
        return self._delta(choice, {}, None, reason)

    def _delta(self, choice: int, delta: Mapping[str, Any], logprobs: Mapping[str, Any] | None = None, reason: str | None = None) -> bytes:
        return self.envelope.frame([{"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason}])


@dataclass(frozen=True, slots=True)
class CompletionChunks:
    """``text_completion``, streamed."""

    envelope: Envelope
    _told: dict[int, int] = field(default_factory=dict)  # choice -> characters of its tokens so far

    def begin(self, choice: int) -> list[bytes]:  # noqa: ARG002 - as the Protocol has it
        """Say nothing: the text is all there is."""
        return []

    def content(self, choice: int, text: str, logprobs: Sequence[TokenLogprob] | None) -> bytes:
        """Return the next piece."""
        if logprobs is None:
            return self._piece(choice, text)
        offset = self._told.get(choice, 0)
        shown = completion_logprobs(logprobs, offset)
        self._told[choice] = offset + sum(len(token) for token in shown["tokens"])
        return self._piece(choice, text, shown)

    def finish(self, choice: int, reason: str) -> bytes:
        """Say why it ended."""
        return self._piece(choice, "", None, reason)

    def _piece(self, choice: int, text: str, logprobs: Mapping[str, Any] | None = None, reason: str | None = None) -> bytes:
        return self.envelope.frame([{"index": choice, "text": text, "logprobs": logprobs, "finish_reason": reason}])


def error_frame(error: InferenceError) -> bytes:
    """Return the last frame of a stream that failed; OpenAI's clients raise an exception for it."""
    fact = error.as_fact()
    return format_sse_event(data_str=to_json(error_body("/v1/chat/completions", fact, status_of(fact.code))).decode())
