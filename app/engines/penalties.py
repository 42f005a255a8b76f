"""Repetition, presence and frequency penalties of one request, on the logits of its row.

Counts are kept here and not taken from the generator, whose record of a prompt
lacks what came from the prefix cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

from app.engines.protocols import Sampling

__all__ = ["Penalties", "penalties_of"]


def penalties_of(sampling: Sampling, prompt: Sequence[int], answer: Sequence[int]) -> Penalties | None:
    """Return the penalties that *sampling* asks for, None if it asks for none."""
    if sampling.repetition_penalty == 1 and sampling.presence_penalty == 0 and sampling.frequency_penalty == 0:
        return None
    return Penalties(sampling, prompt, answer)


class Penalties:
    """A logits processor as mlx-vlm's batch generator calls it: first whole, then token by token."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int], answer: Sequence[int]) -> None:
        self._sampling = sampling
        self._prompt = list(prompt)
        self._answer = list(answer)
        self._seen = mx.zeros((0,), dtype=mx.bool_)  # (vocabulary,): in the prompt or in the answer
        self._counts = mx.zeros((0,))  # (vocabulary,): times in the answer

    def __call__(self, _tokens: mx.array, logits: mx.array) -> mx.array:
        """Return the logits of the first token that is drawn.

        Args:
            _tokens: What the generator holds for the row's tokens; not used, see above.
            logits: Shape (1, vocabulary).
        """
        size = logits.shape[-1]
        self._counts = mx.zeros((size,)).at[mx.array(self._answer, dtype=mx.int32)].add(1.0)
        self._seen = mx.zeros((size,), dtype=mx.bool_)
        self._seen[mx.array([*self._prompt, *self._answer], dtype=mx.int32)] = True
        return self._applied(logits)

    def process_last_token(self, token: int, logits: mx.array) -> mx.array:
        """Return the logits of the token after *token*, which was drawn in the step before."""
        self._counts[token] += 1.0
        self._seen[token] = True
        return self._applied(logits)

    def _applied(self, logits: mx.array) -> mx.array:
        sampling = self._sampling
        value = logits.astype(mx.float32)
        if sampling.repetition_penalty != 1:
            factor = sampling.repetition_penalty
            value = mx.where(self._seen, mx.where(value > 0, value / factor, value * factor), value)
        value = value - sampling.frequency_penalty * self._counts - sampling.presence_penalty * (self._counts > 0)
        # The type must not change: the rows beside this one are joined to it, and theirs would change with it.
        return value.astype(logits.dtype)
