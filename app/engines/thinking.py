"""A bound on how many tokens an answer may think: when they are used up, the end tag is written for the model."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from app.engines.channels import Channel, Channels
from app.engines.markup import Markup

__all__ = ["ThinkingBudget", "ThinkingLimit"]

_MOST_BETWEEN = 64  # tokens that may be waited for the end of a character: in every one of them another may begin


@dataclass(frozen=True, slots=True)
class ThinkingBudget:
    """How many tokens may be thought, and how it is seen that something is."""

    tokens: int
    markup: Markup
    spelled: Sequence[bytes]  # the bytes of every token
    closing: tuple[int, ...]  # what is written when nothing is left: the end tag, with the line breaks around it


class ThinkingLimit:
    """A logits processor as mlx-vlm's batch generator calls it: first whole, then token by token.

    A model may spell a tag by any tokens, so the text is what is looked at, as it is when the answer is shown. A
    thought ends between two characters.

    Args:
        budget: Of the answer.
        answer: Its tokens so far, by an earlier attempt or before the batch began anew.
    """

    def __init__(self, budget: ThinkingBudget, answer: Sequence[int]) -> None:
        self._budget = budget
        self._left = budget.tokens
        self._channels = Channels(budget.markup, ())
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._closing: deque[int] = deque()
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
        if self._closing and self._closing[0] == token:
            self._closing.popleft()
        elif self._channels.channel is Channel.THOUGHT:
            self._left -= 1
        spelled = self._budget.spelled[token] if 0 <= token < len(self._budget.spelled) else b""
        self._channels.push(self._characters.decode(spelled))
        self._close_when_due()

    def _close_when_due(self) -> None:
        within = bool(self._characters.getstate()[0]) and self._left > -_MOST_BETWEEN
        if self._channels.channel is Channel.THOUGHT and self._left <= 0 and not within and not self._closing:
            self._closing.extend(self._budget.closing)

    def _applied(self, logits: mx.array) -> mx.array:
        if not self._closing:
            return logits
        only = mx.full(logits.shape, -mx.inf, dtype=logits.dtype)
        only[:, self._closing[0]] = 0.0
        return only
