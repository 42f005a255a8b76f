"""Whisper's tokens into segments, by the marks of time among them. Pure.

The rules are those of its authors: two marks side by side end one segment and begin
the next; a single mark at the end says that nobody speaks after it; a text without an
end is heard again from where the last segment ended. What is shorter than any sentence
is not listened to once more, where the model found no text in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Stretch", "stretches_of"]

_MARK_S = 0.02
_SHORT_REST_S = 1.0


class Stretch(NamedTuple):
    """Tokens of one segment, and when they are spoken, in seconds from the window's beginning."""

    start_s: float
    end_s: float
    ids: tuple[int, ...]  # of the text alone


def stretches_of(tokens: Sequence[int], *, first_mark: int, text_ends: int, window_s: float) -> tuple[list[Stretch], float]:
    """Return the segments of a window, and how many seconds of it they account for.

    Args:
        tokens: What was drawn, without the token that ends it.
        first_mark: The token of 0.00 s.
        text_ends: Tokens from this one on are no text.
        window_s: How long the window's sound is.
    """

    def stretch(start_s: float, end_s: float, part: Sequence[int]) -> Stretch:
        return Stretch(min(start_s, window_s), min(end_s, window_s), tuple(token for token in part if token < text_ends))

    def seconds(token: int) -> float:
        return (token - first_mark) * _MARK_S

    marks = [token >= first_mark for token in tokens]
    ends = [place for place in range(1, len(tokens)) if marks[place - 1] and marks[place]]
    nobody_after = marks[-2:] == [False, True]
    if not ends:
        last = next((token for token, mark in zip(reversed(tokens), reversed(marks), strict=True) if mark), first_mark)
        return [stretch(0.0, seconds(last) or window_s, tokens)], window_s
    if nobody_after:
        ends.append(len(tokens))
    parts = [tokens[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
    stretches = [stretch(seconds(part[0]), seconds(part[-1]), part) for part in parts]
    done_s = window_s if nobody_after else min(window_s, seconds(tokens[ends[-1] - 1]))
    if all(marks[ends[-1] :]) and window_s - done_s < _SHORT_REST_S:
        done_s = window_s
    return stretches, done_s
