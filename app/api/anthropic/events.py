"""The events of a streamed message, as frames.

A message is a row of blocks, each begun and ended: what is thought, what is
said, each call. An entry of the job's stream adds to the block that is open or
begins the next. How many tokens the prompt has is known at the end alone, so
``message_start`` says 0 and ``message_delta`` all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi.sse import format_sse_event
from pydantic_core import to_json

from app.api.anthropic.answers import message_id, stop_of, usage_of
from app.api.dialects import ANTHROPIC
from app.api.errors import failure_body
from app.errors import InferenceError
from app.jobs.calls import CallDelta, call_id
from app.jobs.record import completion_id
from app.jobs.streams import StreamEntry

__all__ = ["PING", "MessageEvents", "error_frame"]


def _frame(kind: str, **facts: Any) -> bytes:  # noqa: ANN401 - any JSON
    return format_sse_event(event=kind, data_str=to_json({"type": kind, **facts}).decode())


PING: Final = _frame("ping")

_NO_USAGE: Final = {
    "input_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "output_tokens": 0,
    "output_tokens_details": {"thinking_tokens": 0},
}


@dataclass(slots=True)
class MessageEvents:
    """Makes the events of one answer."""

    job_id: str
    model: str
    max_tokens: int
    shows_thinking: bool
    _begun: bool = False
    _blocks: int = 0  # begun so far
    _open: str | int | None = None  # "thinking", "text", or the number of a call
    _id: str = field(init=False)

    def __post_init__(self) -> None:
        self._id = message_id(completion_id(self.job_id))

    def pieces(self, entry: StreamEntry) -> Iterator[bytes]:
        """Yield what an entry of the job's stream adds."""
        for part in entry.parts():
            yield from self._part(part)

    def _part(self, entry: StreamEntry) -> Iterator[bytes]:
        if entry.reasoning:
            yield from self._turn_to("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            if self.shows_thinking:
                yield self._delta("thinking_delta", thinking=entry.reasoning)
        if entry.text:
            yield from self._turn_to("text", {"type": "text", "text": ""})
            yield self._delta("text_delta", text=entry.text)
        for call in entry.calls:
            yield from self._call(call)

    def finish(self, completion: Mapping[str, Any]) -> Iterator[bytes]:
        """Yield the end, as the job's output has it."""
        yield from self._begin()
        yield from self._close()
        yield _frame("message_delta", delta=stop_of(completion, self.max_tokens), usage=usage_of(completion["usage"]))
        yield _frame("message_stop")

    def _call(self, call: CallDelta) -> Iterator[bytes]:
        index, name, arguments = call
        block = {"type": "tool_use", "id": call_id(self.job_id, 0, index), "name": name, "input": {}}
        yield from self._turn_to(index, block)
        if arguments:
            yield self._delta("input_json_delta", partial_json=arguments)

    def _turn_to(self, what: str | int, block: Mapping[str, Any]) -> Iterator[bytes]:
        """Have *what* be open, which begins as *block*."""
        if self._open == what:
            return
        yield from self._begin()
        yield from self._close()
        yield _frame("content_block_start", index=self._blocks, content_block=block)
        self._open = what
        self._blocks += 1

    def _begin(self) -> Iterator[bytes]:
        """Say whose message it is, once."""
        if self._begun:
            return
        self._begun = True
        message = {"id": self._id, "type": "message", "role": "assistant", "model": self.model, "content": []}
        yield _frame("message_start", message={**message, "stop_reason": None, "stop_sequence": None, "usage": _NO_USAGE})

    def _close(self) -> Iterator[bytes]:
        if self._open is None:
            return
        if self._open == "thinking":
            yield self._delta("signature_delta", signature=self._id)
        yield _frame("content_block_stop", index=self._blocks - 1)
        self._open = None

    def _delta(self, kind: str, **piece: str) -> bytes:
        return _frame("content_block_delta", index=self._blocks - 1, delta={"type": kind, **piece})


def error_frame(error: InferenceError, request_id: str) -> bytes:
    """Return the last event of a stream that failed; Anthropic's clients raise an exception for it."""
    return format_sse_event(event="error", data_str=to_json(failure_body(ANTHROPIC, error, request_id)).decode())
