"""Asking a grammar about texts, byte by byte, without a model."""

from __future__ import annotations

import random
from collections.abc import Callable

from app.structure.answer import AnswerShape, grammar_of
from app.structure.llguidance_library import Matcher, bytes_vocabulary

__all__ = ["END", "accepts", "drawn", "stops_at"]

END = 256  # the token that ends an answer, in the vocabulary of bytes


def begun(shape: AnswerShape) -> Matcher:
    matcher = bytes_vocabulary().matcher(grammar_of(shape))
    assert not matcher.is_error(), matcher.get_error()
    return matcher


def allowed(matcher: Matcher) -> set[int]:
    mask = int.from_bytes(matcher.compute_bitmask(), "little")
    assert not matcher.is_error(), matcher.get_error()
    return {token for token in range(END + 1) if mask >> token & 1}


def stops_at(shape: AnswerShape, text: str) -> str | None:
    """Return what of *text* the grammar does not let through, None if all of it may stand and the answer may end there."""
    matcher = begun(shape)
    written = text.encode()
    for place, byte in enumerate(written):
        if not matcher.consume_token(byte):
            return written[place:].decode(errors="replace")
    return None if END in allowed(matcher) else ""


def accepts(shape: AnswerShape, text: str) -> bool:
    """Return whether *text* may be a whole answer."""
    return stops_at(shape, text) is None


def drawn(shape: AnswerShape, source: random.Random, *, most: int = 4000, likes: Callable[[int], float] = lambda _byte: 1.0) -> str | None:
    """Return a random answer, each byte drawn among those that may come next; None if it does not come to an end.

    Args:
        shape: Of the answer.
        source: Draws.
        most: Bytes.
        likes: How much a byte is wanted.
    """
    matcher = begun(shape)
    written = bytearray()
    while len(written) < most:
        choices = sorted(allowed(matcher))
        token = source.choices(choices, [likes(choice) for choice in choices])[0]
        if token == END:
            return written.decode()
        matcher.consume_token(token)
        written.append(token)
    return None
