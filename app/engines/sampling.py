"""Drawing the next token of every row of a batch, each by its own parameters.

A draw depends on the row's logits, its parameters, its seed and its position in
the answer, and on nothing else: not on the rows beside it, not on what was drawn
before. So a request gives the same tokens alone, in company, and taken up after
a crash. Filters apply in the order of temperature, top_k, top_p, min_p, top_p
over what top_k left.

Nothing is read back from the device here, so the next step can be queued before
the last token is known. A row whose logits are not finite draws ``NOT_A_TOKEN``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import mlx.core as mx

from app.engines.protocols import Sampling

__all__ = ["NOT_A_TOKEN", "Draw", "key_words"]

NOT_A_TOKEN = -1

# Up to here the largest values are selected; beyond it sorting whole rows is cheaper.
_SELECT_UP_TO = 1024
_MASK = (1 << 64) - 1


class Draw:
    """Draws one token for each row of a batch whose rows stay the same from step to step."""

    def __init__(self, rows: Sequence[Sampling]) -> None:
        self._places = [index for index, row in enumerate(rows) if not is_greedy(row)]
        self._hot = [rows[index] for index in self._places]
        self._where = mx.array(self._places) if 0 < len(self._places) < len(rows) else None
        self._temperature = _column([row.temperature for row in self._hot])
        self._min_p = _column([math.log(row.min_p) if row.min_p > 0 else -math.inf for row in self._hot])
        self._any_min_p = any(row.min_p > 0 for row in self._hot)
        limited = [index for index, row in enumerate(self._hot) if row.top_k > 0 or row.top_p < 1]
        self._limited = mx.array(limited) if limited else None
        limits = [self._hot[index] for index in limited]
        self._most_k = max((row.top_k for row in limits), default=0) if all(row.top_k > 0 for row in limits) else 0
        self._top_k = _column([row.top_k if row.top_k > 0 else math.inf for row in limits])
        # Rounding could bring the sum of all others to exactly 1, so "off" is a bound that no sum reaches.
        self._top_p = _column([row.top_p if row.top_p < 1 else 2.0 for row in limits])

    def __call__(self, logprobs: mx.array, positions: Sequence[int]) -> mx.array:
        """Return the tokens.

        Args:
            logprobs: Shape (rows, vocabulary), any float type.
            positions: Position in its answer of the token to draw, for each row.

        Returns:
            Shape (rows,), int32, not evaluated.
        """
        tokens = mx.argmax(logprobs, axis=-1)
        if self._hot:
            hot = logprobs if self._where is None else logprobs[self._where]
            drawn = self._draw(hot.astype(mx.float32), [positions[place] for place in self._places])
            if self._where is None:
                tokens = drawn
            else:
                tokens[self._where] = drawn
        # A token that can be drawn has a finite logprob; where logits are NaN or infinite, no token has.
        chosen = mx.take_along_axis(logprobs, tokens[:, None], axis=-1)[:, 0]
        return mx.where(mx.isfinite(chosen), tokens.astype(mx.int32), NOT_A_TOKEN)

    def _draw(self, logprobs: mx.array, positions: Sequence[int]) -> mx.array:
        # Relative to the largest: a tiny temperature then sends the others to -inf, never all of them.
        scaled = (logprobs - mx.max(logprobs, axis=-1, keepdims=True)) / self._temperature
        floor = self._floor(scaled)
        if floor is not None:
            scaled = mx.where(scaled >= floor, scaled, -mx.inf)
        words = [key_words(row.seed, position) for row, position in zip(self._hot, positions, strict=True)]
        return _categorical(scaled, mx.array(words, dtype=mx.uint32))

    def _floor(self, scaled: mx.array) -> mx.array | None:
        """Return the least scaled logprob that each row may draw, shape (rows, 1); None where all may."""
        if self._limited is None:
            return self._min_p if self._any_min_p else None
        floor = mx.full((scaled.shape[0], 1), -mx.inf)
        floor[self._limited] = self._nucleus(scaled[self._limited])
        return mx.maximum(floor, self._min_p) if self._any_min_p else floor

    def _nucleus(self, scaled: mx.array) -> mx.array:
        """Return the least value within top_k and top_p of each row, shape (rows, 1)."""
        select = 0 < self._most_k <= min(_SELECT_UP_TO, scaled.shape[-1] - 1)
        largest = mx.topk(scaled, self._most_k, axis=-1) if select else scaled
        descending = -mx.sort(-largest, axis=-1)
        rank = mx.arange(descending.shape[-1])[None]
        probability = mx.softmax(mx.where(rank < self._top_k, descending, -mx.inf), axis=-1)
        before = mx.cumsum(probability, axis=-1) - probability
        kept = (rank == 0) | ((rank < self._top_k) & (before < self._top_p))
        return mx.min(mx.where(kept, descending, mx.inf), axis=-1, keepdims=True)


def is_greedy(row: Sampling) -> bool:
    """Return whether *row* always takes the likeliest token."""
    return row.temperature <= 0 or row.top_k == 1


def key_words(seed: int, position: int) -> tuple[int, int]:
    """Return the two 32-bit words of the random key of *position*.

    Mixed (splitmix64), so that neighbouring seeds and positions share nothing.
    """
    mixed = _mix(_mix(seed & _MASK) + (position + 1) * 0x9E3779B97F4A7C15)
    return mixed >> 32, mixed & 0xFFFFFFFF


def _mix(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def _categorical(logprobs: mx.array, keys: mx.array) -> mx.array:
    return mx.vmap(lambda row, key: mx.random.categorical(row, key=key))(logprobs, keys)


def _column(values: Sequence[float]) -> mx.array:
    return mx.array(list(values), dtype=mx.float32)[:, None]
