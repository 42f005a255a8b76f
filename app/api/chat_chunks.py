"""OpenAI's ``chat.completion.chunk`` objects, as frames. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.sse import format_sse_event
from pydantic_core import to_json

from app.api.errors import error_body, status_of
from app.errors import InferenceError

__all__ = ["DONE", "ChunkMaker", "error_frame"]

DONE = format_sse_event(data_str="[DONE]")


@dataclass(frozen=True, slots=True)
class ChunkMaker:
    """Makes the chunks of one answer."""

    id: str
    model: str
    created: int  # unix seconds
    include_usage: bool

    def role(self) -> bytes:
        """The first chunk: who speaks."""
        return self._choice({"role": "assistant", "content": ""})

    def content(self, text: str) -> bytes:
        """The next piece of the answer."""
        return self._choice({"content": text})

    def finish(self, reason: str) -> bytes:
        """The last chunk of the answer: why it ended."""
        return self._choice({}, reason)

    def usage(self, counts: Mapping[str, Any]) -> bytes:
        """The chunk that a caller asks for with ``stream_options.include_usage``."""
        return self._frame([], counts)

    def _choice(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        return self._frame([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}], None)

    def _frame(self, choices: list[dict[str, Any]], usage: Mapping[str, Any] | None) -> bytes:
        chunk: dict[str, Any] = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": None,
            "choices": choices,
        }
        if self.include_usage:
            chunk["usage"] = usage
        return format_sse_event(data_str=to_json(chunk).decode())


def error_frame(error: InferenceError) -> bytes:
    """Return the last frame of a stream that failed; OpenAI's clients raise an exception for it."""
    fact = error.as_fact()
    return format_sse_event(data_str=to_json(error_body("/v1/chat/completions", fact, status_of(fact.code))).decode())
