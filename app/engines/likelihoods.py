"""How likely drawn tokens were, for the rows of a batch whose requests ask for it; the other rows pay nothing.

The likelihoods are the model's own. The sampler sees a row after penalties and
biases, so a row that has some keeps its logits from before them: :class:`Before`.
The logits come in the model's own type: with bf16 a likelihood is right to two or
three digits. Nothing is read back when a token is drawn, but in the step after, with the token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

import mlx.core as mx

from app.engines.protocols import Likelihood

__all__ = ["Before", "Drawn", "Likelihoods"]

_RULED_OUT: Final = -9999.0  # OpenAI's value for what JSON cannot say


class Drawn(NamedTuple):
    """How likely one drawn token was, and which tokens were the likeliest at its place, likeliest first."""

    logprob: float
    top: tuple[tuple[int, float], ...]

    def spelled(self, token: int, words: Sequence[bytes]) -> Likelihood:
        """Return it as it is told of *token*, given the bytes of every token."""
        # Embedding tables are padded: a model may emit an id that the tokenizer lacks.
        own, *others = (words[one] if one < len(words) else b"" for one in (token, *(other for other, _ in self.top)))
        return Likelihood(own, self.logprob, tuple(zip(others, (value for _, value in self.top), strict=True)))


class Before:
    """A logits processor that changes nothing and goes first: it keeps the logits as the model gave them."""

    def __init__(self) -> None:
        self.logits: mx.array | None = None

    def __call__(self, _tokens: mx.array, logits: mx.array) -> mx.array:
        """Keep *logits*, shape (1, vocabulary)."""
        self.logits = logits
        return logits

    def process_last_token(self, _token: int, logits: mx.array) -> mx.array:
        """Keep *logits*, shape (1, vocabulary)."""
        self.logits = logits
        return logits


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen at one draw of several rows; not evaluated yet."""

    places: Mapping[int, int]  # row -> place in the arrays
    chosen: mx.array  # (places,)
    tokens: mx.array | None  # (places, most), likeliest first
    logprobs: mx.array | None

    def read(self, tops: Mapping[int, int]) -> dict[int, Drawn]:
        """Return what was seen of the rows of *tops*."""
        chosen = cast("list[float]", self.chosen.tolist())
        tokens = cast("list[list[int]]", self.tokens.tolist()) if self.tokens is not None else None
        logprobs = cast("list[list[float]]", self.logprobs.tolist()) if self.logprobs is not None else None
        found = {}
        for row, top in tops.items():
            place = self.places[row]
            likeliest = list(zip(tokens[place], logprobs[place], strict=True))[:top] if tokens and logprobs else []
            found[row] = Drawn(_finite(chosen[place]), tuple((token, _finite(value)) for token, value in likeliest))
        return found


class Likelihoods:
    """Of the rows of one batch. A row's token is looked at when it is drawn and read when it is told, one step later."""

    def __init__(self) -> None:
        self._tops: dict[int, int] = {}
        self._before: dict[int, Before] = {}
        self._looks: dict[int, _Look] = {}

    def ask(self, row: int, top: int, before: Before | None) -> None:
        """From now on look at *row*, at its *top* likeliest tokens too."""
        self._tops[row] = top
        if before is not None:
            self._before[row] = before

    def forget(self, row: int) -> None:
        """*row* has left."""
        self._tops.pop(row, None)
        self._before.pop(row, None)
        self._looks.pop(row, None)

    def look(self, rows: Sequence[int], logprobs: mx.array, tokens: mx.array) -> None:
        """Look at what is being drawn.

        Args:
            rows: As they stand in the batch.
            logprobs: Shape (rows, vocabulary), what the sampler was given.
            tokens: Shape (rows,), what it draws.
        """
        places = [place for place, row in enumerate(rows) if row in self._tops]
        if not places:
            return
        asked = [rows[place] for place in places]
        whole = mx.concatenate([self._seen(row, logprobs[place : place + 1]) for row, place in zip(asked, places, strict=True)], axis=0)
        whole = whole.astype(mx.float32)
        whole = whole - mx.logsumexp(whole, axis=-1, keepdims=True)
        chosen = mx.take_along_axis(whole, mx.maximum(tokens[mx.array(places)], 0)[:, None], axis=-1)[:, 0]
        most = min(max(self._tops[row] for row in asked), whole.shape[-1])
        likeliest = values = None
        if most:
            some = mx.argpartition(-whole, most - 1, axis=-1)[:, :most]
            order = mx.argsort(-mx.take_along_axis(whole, some, axis=-1), axis=-1)
            likeliest = mx.take_along_axis(some, order, axis=-1)
            values = mx.take_along_axis(whole, likeliest, axis=-1)
        mx.async_eval(*(array for array in (tokens, chosen, likeliest, values) if array is not None))  # type: ignore[no-untyped-call]
        look = _Look({row: place for place, row in enumerate(asked)}, chosen, likeliest, values)
        self._looks.update(dict.fromkeys(asked, look))

    def begin_step(self) -> dict[int, _Look]:
        """Return what was seen of the tokens that the coming step may tell, to be given to :meth:`end_step`."""
        seen, self._looks = self._looks, {}
        return seen

    def end_step(self, seen: Mapping[int, _Look], told: Sequence[int]) -> dict[int, Drawn]:
        """Return what was seen of the tokens of the rows *told*; of the others it is kept."""
        wanted = {row for row in told if row in seen}
        self._looks = {row: look for row, look in seen.items() if row not in wanted} | self._looks
        found: dict[int, Drawn] = {}
        for look in {id(seen[row]): seen[row] for row in wanted}.values():
            found |= look.read({row: self._tops[row] for row in wanted if seen[row] is look})
        return found

    def _seen(self, row: int, after: mx.array) -> mx.array:
        before = self._before.get(row)
        return after if before is None or before.logits is None else before.logits


def _finite(value: float) -> float:
    return max(value, _RULED_OUT) if value == value else _RULED_OUT  # noqa: PLR0124 - NaN alone differs from itself
