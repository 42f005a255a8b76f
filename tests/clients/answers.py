"""Reading what a client was told: streamed chunks joined, and what differs from one run to the next left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["joined", "lasting"]

_OF_THE_MOMENT = {
    *("created", "created_at", "started_at", "finished_at"),
    *("cached_tokens", "position", "progress", "resident", "waiting_for"),
    *("bytes", "detail", "state"),
}
_ID = re.compile(r"\b(chatcmpl-|cmpl-|file-|job_)[0-9a-f]{24}\b")


def joined(chunks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the answer that was streamed as *chunks*, with ``text`` where a chat has a message."""
    choices: dict[int, dict[str, Any]] = {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        whole = choices.setdefault(choice["index"], {"text": "", "finish_reason": None, "logprobs": []})
        delta = choice.get("delta", choice)
        whole["text"] += delta.get("content") or delta.get("text") or ""
        whole["logprobs"] += (choice.get("logprobs") or {}).get("content") or []
        whole["finish_reason"] = choice["finish_reason"] or whole["finish_reason"]
    return {"choices": [choices[index] for index in sorted(choices)], "usage": chunks[-1].get("usage")}


def lasting(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Return path -> leaf of *value* without moments, and with ids by their kind alone."""
    return dict(_leaves(value, ""))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        for name, inner in value.items():
            if name not in _OF_THE_MOMENT:
                yield from _leaves(inner, f"{path}/{name}")
    elif isinstance(value, list):
        yield f"{path}/length", len(value)
        for position, inner in enumerate(value):
            yield from _leaves(inner, f"{path}/{position}")
    else:
        yield path, _ID.sub(r"\1", value) if isinstance(value, str) else value
