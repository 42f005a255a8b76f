"""Grammars of answers, and the masks by which a row of a batch keeps to its own.

A :class:`Grammar` is compiled off the GPU thread and never changes. Each row
makes a :class:`GrammarMask` of it, which follows the row's tokens. It goes last
among a row's logits processors: what it rules out, no penalty or bias brings back.

A grammar that gives out (llguidance bounds what one token may cost) fails the
one answer that it belongs to: then no token is possible, and ``error`` says why.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Collection, Sequence

import mlx.core as mx
import numpy as np

from app.engines.sampling import NOT_A_TOKEN
from app.errors import InvalidRequest
from app.structure.answer import AnswerShape, grammar_of
from app.structure.llguidance_library import Matcher, Vocabulary

__all__ = ["Grammar", "GrammarMask", "Grammars"]


class Grammar:
    """What an answer must look like, for one model's tokens. Immutable."""

    def __init__(self, beginning: Matcher, ends: Collection[int]) -> None:
        self._beginning = beginning
        self.ends = frozenset(ends)

    def matcher(self) -> Matcher:
        """Return a matcher of its own, at the beginning."""
        return self._beginning.deep_copy()


class Grammars:
    """Compiles grammars for one model, on any thread; what that takes of the vocabulary is made when it is first needed."""

    def __init__(self, spelled: Sequence[bytes], special: Collection[int], ends: Collection[int]) -> None:
        """Remember a vocabulary.

        Args:
            spelled: The bytes of every token; empty where tokens are not spelled one by one.
            special: Tokens that have no text.
            ends: Tokens that end an answer.
        """
        self._spelled = spelled
        self._special = special
        self._ends = sorted(end for end in ends if end < len(spelled))
        self._lock = threading.Lock()
        self._vocabulary: Vocabulary | None = None
        self._compiled = functools.lru_cache(maxsize=16)(self._compile)  # several answers to one request, an agent's every turn

    def compile(self, shape: AnswerShape) -> Grammar:
        """Return the grammar of *shape*.

        Raises:
            InvalidRequest: It cannot be compiled, or the model's tokens are not what it takes.
        """
        if not self._ends:
            msg = "This model's answers cannot be held to a schema or to tools: its tokens are no bytes, or none of them ends an answer."
            raise InvalidRequest(msg, param="model")
        return self._compiled(grammar_of(shape))

    def _compile(self, lark: str) -> Grammar:
        matcher = self._known_vocabulary().matcher(lark)
        if matcher.is_error():
            msg = f"What the answer shall look like cannot be compiled: {matcher.get_error().splitlines()[0]}"
            raise InvalidRequest(msg)
        return Grammar(matcher, self._ends)

    def _known_vocabulary(self) -> Vocabulary:
        with self._lock:
            if self._vocabulary is None:
                self._vocabulary = Vocabulary(self._spelled, special=self._special, ends=self._ends)
            return self._vocabulary


class GrammarMask:
    """A logits processor as mlx-vlm's batch generator calls it: first whole, then token by token.

    Attributes:
        error: Why no token is possible any more, None while there is one.
    """

    def __init__(self, grammar: Grammar, answer: Sequence[int]) -> None:
        """Begin a row.

        Args:
            grammar: What it keeps to.
            answer: Its tokens so far, by an earlier attempt.
        """
        self._ends = grammar.ends
        self._matcher = grammar.matcher()
        self.error: str | None = None
        for token in answer:
            self._matcher.consume_token(token)

    def __call__(self, _tokens: mx.array, logits: mx.array) -> mx.array:
        """Return the logits of the first token that is drawn, shape (1, vocabulary) as they came."""
        return self._masked(logits)

    def process_last_token(self, token: int, logits: mx.array) -> mx.array:
        """Return the logits of the token after *token*, which was drawn in the step before."""
        if token == NOT_A_TOKEN or token in self._ends:
            return logits  # the row has ended, and is about to leave
        self._matcher.consume_token(token)
        return self._masked(logits)

    def _masked(self, logits: mx.array) -> mx.array:
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        if self._matcher.is_error():
            reason = self._matcher.get_error().splitlines()[0]
            self.error = f"The answer could not be held to its schema or tools any further: {reason}. Simplify them."
            return mx.full(logits.shape, -mx.inf, dtype=logits.dtype)
        allowed = np.zeros((logits.shape[-1],), dtype=np.bool_)  # rows of logits are wider than vocabularies, and seldom narrower
        known = np.unpackbits(bits, count=min(len(bits) * 8, len(allowed)), bitorder="little")
        allowed[: len(known)] = known
        # The type must not change: the rows beside this one are joined to it, and theirs would change with it.
        return mx.where(mx.array(allowed), logits, mx.array(-mx.inf, dtype=logits.dtype))
