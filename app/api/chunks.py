"""OpenAI's chunks of a streamed answer, as frames: of a chat and of a plain completion. Pure but for the padding."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi.sse import format_sse_event
from pydantic_core import to_json

from app.api.dialects import OPENAI
from app.api.errors import failure_body
from app.errors import InferenceError
from app.jobs.calls import CallDelta, call_id, joined_deltas
from app.jobs.logprobs import chat_logprobs, completion_logprobs
from app.jobs.record import JobKind, completion_id
from app.jobs.streams import StreamEntry

__all__ = ["DONE", "ChatChunks", "Chunks", "CompletionChunks", "Envelope", "error_frame", "padded"]

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
            chunk = padded(chunk)
        return format_sse_event(data_str=to_json(chunk).decode())

    def usage(self, counts: Mapping[str, Any]) -> bytes:
        """The chunk that a caller asks for with ``stream_options.include_usage``."""
        return self.frame([], counts)


def padded(chunk: Mapping[str, Any]) -> dict[str, Any]:
    """Return *chunk* with what makes its size an even one."""
    missing = -len(to_json({**chunk, "obfuscation": ""})) % _EVEN_BYTES
    return {**chunk, "obfuscation": secrets.token_hex(_EVEN_BYTES)[:missing]}


class Chunks(Protocol):
    """Makes the chunks of an answer's choices."""

    def pieces(self, entry: StreamEntry, *, with_logprobs: bool) -> list[bytes]:
        """What an entry of the job's stream adds to its choice."""
        ...

    def finish(self, choice: int, reason: str) -> list[bytes]:
        """The end of a choice, and why it ended."""
        ...


@dataclass(frozen=True, slots=True)
class ChatChunks:
    """``chat.completion.chunk``."""

    envelope: Envelope
    _begun: set[int] = field(default_factory=set)  # choices of which it was said who speaks

    def pieces(self, entry: StreamEntry, *, with_logprobs: bool) -> list[bytes]:
        """Return a piece for each: what was thought, what is said, what is called, in the order in which it came."""
        frames = [frame for part in entry.parts() for frame in self._part(part, with_logprobs=with_logprobs)]
        return [*self._begin(entry.choice), *frames]

    def _part(self, entry: StreamEntry, *, with_logprobs: bool) -> list[bytes]:
        deltas: list[dict[str, Any]] = []
        if entry.reasoning:
            deltas.append({"reasoning_content": entry.reasoning})
        if entry.text or (with_logprobs and entry.logprobs and not deltas and not entry.calls):
            deltas.append({"content": entry.text})
        if entry.calls:
            deltas.append({"tool_calls": [self._call(entry.choice, call) for call in joined_deltas(entry.calls)]})
        # They are of all the entry's tokens, and go with what comes first.
        logprobs = [chat_logprobs(entry.logprobs) if with_logprobs else None, None, None]
        return [self._delta(entry.choice, delta, its) for delta, its in zip(deltas, logprobs, strict=False)]

    def _call(self, choice: int, call: CallDelta) -> dict[str, Any]:
        index, name, arguments = call
        if not name:
            return {"index": index, "function": {"arguments": arguments}}
        begun = {"index": index, "id": call_id(self.envelope.job_id, choice, index), "type": "function"}
        return {**begun, "function": {"name": name, "arguments": arguments}}

    def finish(self, choice: int, reason: str) -> list[bytes]:
        """Say why it ended."""
        return [*self._begin(choice), self._delta(choice, {}, None, reason)]

    def _begin(self, choice: int) -> list[bytes]:
        """Say who speaks, once."""
        if choice in self._begun:
            return []
        self._begun.add(choice)
        return [self._delta(choice, {"role": "assistant", "content": ""})]

    def _delta(self, choice: int, delta: Mapping[str, Any], logprobs: Mapping[str, Any] | None = None, reason: str | None = None) -> bytes:
        return self.envelope.frame([{"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason}])


@dataclass(frozen=True, slots=True)
class CompletionChunks:
    """``text_completion``, streamed."""

    envelope: Envelope
    _told: dict[int, int] = field(default_factory=dict)  # choice -> characters of its tokens so far

    def pieces(self, entry: StreamEntry, *, with_logprobs: bool) -> list[bytes]:
        """Return the next piece."""
        if not with_logprobs:
            return [self._piece(entry.choice, entry.text)]
        offset = self._told.get(entry.choice, 0)
        shown = completion_logprobs(entry.logprobs, offset)
        self._told[entry.choice] = offset + sum(len(token) for token in shown["tokens"])
        return [self._piece(entry.choice, entry.text, shown)]

    def finish(self, choice: int, reason: str) -> list[bytes]:
        """Say why it ended."""
        return [self._piece(choice, "", None, reason)]

    def _piece(self, choice: int, text: str, logprobs: Mapping[str, Any] | None = None, reason: str | None = None) -> bytes:
        return self.envelope.frame([{"index": choice, "text": text, "logprobs": logprobs, "finish_reason": reason}])


def error_frame(error: InferenceError) -> bytes:
    """Return the last frame of a stream that failed; OpenAI's clients raise an exception for it."""
    return format_sse_event(data_str=to_json(failure_body(OPENAI, error)).decode())
