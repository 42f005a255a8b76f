"""What a row of a batch is held to, beyond its sampling: a grammar, and how much of it may be thought."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from app.engines.grammar import Grammar, GrammarMask
from app.engines.thinking import ThinkingBudget, ThinkingLimit

__all__ = ["FREE", "Held"]


class Held(NamedTuple):
    """What an answer is held to."""

    grammar: Grammar | None = None
    thinking: ThinkingBudget | None = None

    def mask(self, answer: Sequence[int]) -> GrammarMask | None:
        """Return the processor that keeps to the grammar, None where there is none; *answer* is what earlier attempts drew."""
        return None if self.grammar is None else GrammarMask(self.grammar, answer)

    def limit(self, answer: Sequence[int]) -> ThinkingLimit | None:
        """Return the processor that ends the thought in time, None where it may last; it goes last: what it writes, every grammar takes."""
        return None if self.thinking is None else ThinkingLimit(self.thinking, answer)


FREE = Held()
