"""Which of Whisper's tokens may come next, as far as marks of time go.

The rules of its authors, in place of mlx-audio's: those let times decrease, and rule
out every token where a text must follow two marks but a mark is likelier.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np
import numpy.typing as npt

__all__ = ["TimeRules"]


class TimeRules:
    """Rules over one sequence.

    Args:
        vocabulary: How many tokens there are.
        end: The token that ends a text; those before it are text.
        no_times: The token that asks for a text without times.
        first_mark: The token of 0.00 s; those behind it are later.
        latest_start: Marks by which a text must have begun.
    """

    def __init__(self, *, vocabulary: int, end: int, no_times: int, first_mark: int, latest_start: int) -> None:
        self._vocabulary = vocabulary
        self._end = end
        self._no_times = no_times
        self._first_mark = first_mark
        self._latest_start = latest_start

    def apply(self, logits: mx.array, drawn: Sequence[int]) -> mx.array:
        """Return *logits*, shape (1, vocabulary), with those of tokens that may not follow *drawn* at minus infinity."""
        logits = logits + mx.array(self._barred(drawn))
        marks, texts = logits[:, self._first_mark :], logits[:, : self._first_mark]
        # A mark that is likelier, all marks together, than any text comes next.
        likelier = mx.logsumexp(marks, axis=-1, keepdims=True) > mx.max(texts, axis=-1, keepdims=True)
        return mx.concatenate([mx.where(likelier, -mx.inf, texts), marks], axis=-1)

    def _barred(self, drawn: Sequence[int]) -> npt.NDArray[np.float32]:
        barred = np.zeros(self._vocabulary, dtype=np.float32)
        barred[self._no_times] = -np.inf
        if not drawn:
            barred[: self._first_mark] = -np.inf
            barred[self._first_mark + self._latest_start + 1 :] = -np.inf
            return barred
        after_mark = drawn[-1] >= self._first_mark
        after_two = after_mark and (len(drawn) == 1 or drawn[-2] >= self._first_mark)
        if after_two:
            barred[self._first_mark :] = -np.inf
        elif after_mark:
            barred[: self._end] = -np.inf
        last = next((token for token in reversed(drawn) if token >= self._first_mark), None)
        if last is not None:
            # The next segment may begin where the last one ended; but none ends where it began.
            barred[self._first_mark : last if after_mark and not after_two else last + 1] = -np.inf
        return barred
