"""How likely the tokens of an answer were: as a stream keeps it, and as OpenAI shows it. Pure.

The likelihoods are the model's own, before temperature, filters, penalties and
biases. The token that ended an answer is no part of it and has none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

__all__ = ["Alternative", "TokenLogprob", "chat_logprobs", "completion_logprobs", "packed", "unpacked"]

Alternative = tuple[bytes, float]
"""A token's bytes and its natural logarithm of a probability."""

TokenLogprob = tuple[bytes, float, tuple[Alternative, ...]]
"""The same of the token that was drawn, with the likeliest tokens at its place, likeliest first."""


def packed(logprobs: Sequence[TokenLogprob]) -> str:
    """Return *logprobs* as a field of a stream's entry: JSON, bytes as the characters of the same number."""
    rows = [[token.decode("latin-1"), value, [[other.decode("latin-1"), its] for other, its in top]] for token, value, top in logprobs]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))


def unpacked(text: str) -> tuple[TokenLogprob, ...]:
    """Return what :func:`packed` was given."""
    return tuple(
        (token.encode("latin-1"), value, tuple((other.encode("latin-1"), its) for other, its in top))
        for token, value, top in json.loads(text)
    )


def chat_logprobs(logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
    """Return the ``logprobs`` of a chat's choice."""
    content = [{**_chat_token(token, value), "top_logprobs": [_chat_token(*other) for other in top]} for token, value, top in logprobs]
    return {"content": content, "refusal": None}


def completion_logprobs(logprobs: Sequence[TokenLogprob], offset: int = 0) -> dict[str, Any]:
    """Return the ``logprobs`` of a completion's choice.

    Args:
        logprobs: Of the tokens to show.
        offset: Characters of the choice's tokens before the first of them.
    """
    tokens = [_shown(token) for token, _, _ in logprobs]
    offsets = [offset]
    for token in tokens:
        offsets.append(offsets[-1] + len(token))
    return {
        "tokens": tokens,
        "token_logprobs": [value for _, value, _ in logprobs],
        # The token that was drawn is always among them, so there may be one more than asked for.
        "top_logprobs": [{_shown(other): its for other, its in (*top, (token, value))} for token, value, top in logprobs]
        if any(top for _, _, top in logprobs)
        else None,
        "text_offset": offsets[:-1],
    }


def _chat_token(token: bytes, value: float) -> dict[str, Any]:
    return {"token": _shown(token), "logprob": value, "bytes": list(token)}


def _shown(token: bytes) -> str:
    """Return a token's text; of a piece of a character, its bytes as escapes."""
    return token.decode("utf-8", "backslashreplace")
