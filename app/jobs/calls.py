"""Calls of tools in an answer: as a stream keeps them, piece by piece, and as OpenAI shows them. Pure.

A call comes in pieces: the first has its name, and each some of its arguments,
which together are one JSON text. Ids are made of the job's, so that every
reader, and every attempt, says the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["CallDelta", "call_id", "joined_calls", "joined_deltas", "packed_calls", "tool_calls", "unpacked_calls"]

CallDelta = tuple[int, str, str]
"""Which call of its answer, from 0; its name, empty after its first piece; the next piece of its arguments."""


def packed_calls(deltas: Iterable[CallDelta]) -> str:
    """Return *deltas* as a field of a stream's entry."""
    return json.dumps([*deltas], ensure_ascii=False, separators=(",", ":"))


def unpacked_calls(text: str) -> tuple[CallDelta, ...]:
    """Return what :func:`packed_calls` was given."""
    return tuple((int(index), str(name), str(arguments)) for index, name, arguments in json.loads(text))


def joined_calls(deltas: Iterable[CallDelta]) -> list[tuple[str, str]]:
    """Return each call's name and its arguments as far as they came."""
    return [(name, arguments) for _, name, arguments in sorted(joined_deltas(deltas))]


def joined_deltas(deltas: Iterable[CallDelta]) -> list[CallDelta]:
    """Return one delta for each call that *deltas* add to."""
    calls: dict[int, CallDelta] = {}
    for index, name, arguments in deltas:
        _, its_name, before = calls.get(index, (index, "", ""))
        calls[index] = (index, its_name or name, before + arguments)
    return [*calls.values()]


def call_id(job_id: str, choice: int, index: int) -> str:
    """Return the id of a call of one of a job's answers."""
    return f"call_{hashlib.sha256(f'{job_id} {choice} {index}'.encode()).hexdigest()[:24]}"


def tool_calls(job_id: str, choice: int, deltas: Sequence[CallDelta]) -> list[dict[str, Any]]:
    """Return the ``tool_calls`` of a message."""
    return [
        {"id": call_id(job_id, choice, index), "type": "function", "function": {"name": name, "arguments": arguments}}
        for index, (name, arguments) in enumerate(joined_calls(deltas))
    ]
