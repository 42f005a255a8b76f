"""A bound on how many tokens an answer may think: when they are used up, the end tag is written for the model."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

__all__ = ["ThinkingBudget", "ThinkingLimit"]


@dataclass(frozen=True, slots=True)
class ThinkingBudget:
    """How many tokens may be thought, and how it is seen where that begins and ends."""

    tokens: int
    start: tuple[int, ...]  # the tokens of the tag
    end: tuple[int, ...]
    closing: tuple[int, ...]  # what is written when nothing is left: the end tag, with the line breaks around it
    opened: bool  # the prompt ends within an open tag


class ThinkingLimit:
    """A logits processor as mlx-vlm's batch generator calls it: first whole, then token by token.

    Args:
        budget: Of the answer.
        answer: Its tokens so far, by an earlier attempt or before the batch began anew.
    """

    def __init__(self, budget: ThinkingBudget, answer: Sequence[int]) -> None:
        self._budget = budget
        self._left = budget.tokens
        self._thinks = budget.opened
        self._closing: deque[int] = deque()
        self._recent: deque[int] = deque(maxlen=max(len(budget.start), len(budget.end)))
        self._close_when_due()
        for token in answer:
            self._see(token)

    def __call__(self, _tokens: mx.array, logits: mx.array) -> mx.array:
        """Return the logits of the first token that is drawn, shape (1, vocabulary) as they came."""
        return self._applied(logits)

    def process_last_token(self, token: int, logits: mx.array) -> mx.array:
        """Return the logits of the token after *token*, which was drawn in the step before."""
        self._see(token)
        return self._applied(logits)

    def _see(self, token: int) -> None:
        self._recent.append(token)
        if self._closing and self._closing[0] == token:
            self._closing.popleft()
        if not self._thinks:
            self._thinks = self._ends_in(self._budget.start)
        elif self._ends_in(self._budget.end):
            self._thinks = False
        elif not self._closing:
            self._left -= 1
        self._close_when_due()

    def _close_when_due(self) -> None:
        if self._thinks and self._left <= 0 and not self._closing:
            self._closing.extend(self._budget.closing)

    def _ends_in(self, tokens: tuple[int, ...]) -> bool:
        return tuple(self._recent)[-len(tokens) :] == tokens

    def _applied(self, logits: mx.array) -> mx.array:
        if not self._closing:
            return logits
        only = mx.full(logits.shape, -mx.inf, dtype=logits.dtype)
        only[:, self._closing[0]] = 0.0
        return only
