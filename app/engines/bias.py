"""What a request adds to the logits of single tokens, on its row."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

__all__ = ["LogitBias"]


class LogitBias:
    """A logits processor as mlx-vlm's batch generator calls it: the same before the first token and before every other."""

    def __init__(self, bias: Sequence[tuple[int, float]]) -> None:
        self._tokens = mx.array([token for token, _ in bias], dtype=mx.int32)
        self._added = mx.array([value for _, value in bias], dtype=mx.float32)

    def __call__(self, _tokens: mx.array, logits: mx.array) -> mx.array:
        """Return the logits with the bias, shape (1, vocabulary) as they came."""
        changed = logits.astype(mx.float32).at[:, self._tokens].add(self._added[None])
        # The type must not change: the rows beside this one are joined to it, and theirs would change with it.
        return changed.astype(logits.dtype)

    def process_last_token(self, _token: int, logits: mx.array) -> mx.array:
        """Return the logits with the bias; what was drawn before does not matter."""
        return self(self._tokens, logits)
