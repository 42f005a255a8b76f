"""The parts of llguidance that we use, and the one door to them.

It is imported when it is first asked for something: the API starts without it.
Its messages name a reason and no place; where in a schema the reason stands is
found by :mod:`app.structure.schemas`.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

__all__ = ["Matcher", "Vocabulary", "bytes_vocabulary", "refusal_of_lark", "refusal_of_schema"]

_BYTES = 256


class Matcher(Protocol):
    """Where an answer stands in its grammar. It raises nothing: what goes wrong makes it erroneous for good."""

    def consume_token(self, sampled_token: int) -> bool:
        """Go on with a token; return whether the grammar lets it."""
        ...

    def compute_bitmask(self) -> bytes:
        """Return which tokens may come next, one bit each, lowest first, in whole 32-bit words."""
        ...

    def is_error(self) -> bool:
        """Whether something went wrong."""
        ...

    def get_error(self) -> str:
        """Return what went wrong, or an empty text."""
        ...

    def is_accepting(self) -> bool:
        """Whether the answer may end here."""
        ...

    def is_stopped(self) -> bool:
        """Whether nothing but an end token may follow."""
        ...

    def deep_copy(self) -> Matcher:
        """Return another that stands at the same place."""
        ...


class _Tokens:
    """A vocabulary as llguidance asks for one."""

    def __init__(self, pieces: Sequence[bytes], special: Collection[int], end: int) -> None:
        self.eos_token_id = end
        self.bos_token_id = None
        self.tokens = list(pieces)
        self.special_token_ids = sorted(special)

    def __call__(self, _text: object) -> list[int]:
        """Refuse: texts are cut into tokens where a grammar forces some, and every one of ours is compiled with ``no_forcing``."""
        msg = "a grammar asked for the tokens of a text, though none of ours forces any"
        raise RuntimeError(msg)


class Vocabulary:
    """The tokens of a model, as bytes. Immutable; any thread may compile for it."""

    def __init__(self, pieces: Sequence[bytes], *, special: Collection[int], ends: Sequence[int]) -> None:
        """Take over a vocabulary.

        Args:
            pieces: The bytes of every token; tokens without any are in no answer.
            special: Tokens that have no text: a grammar never lets them through, save those of *ends* where an answer may end.
            ends: Tokens that end an answer, at least one.
        """
        from llguidance import LLTokenizer, TokenizerWrapper

        tokens: Any = TokenizerWrapper(_Tokens(pieces, {*special, *ends}, ends[0]))
        self._tokens: LLTokenizer = LLTokenizer(tokens, eos_token=list(ends))

    def matcher(self, lark: str) -> Matcher:
        """Return a matcher at the beginning of a grammar; it is erroneous if the grammar is."""
        from llguidance import LLMatcher

        made: LLMatcher = LLMatcher(self._tokens, LLMatcher.grammar_from_lark(lark), log_level=0)
        return made


@functools.cache
def bytes_vocabulary() -> Vocabulary:
    """Return the vocabulary whose tokens are the 256 bytes, and 256 the end: what a schema can be tried on without a model."""
    return Vocabulary([*(bytes([byte]) for byte in range(_BYTES)), b"<end>"], special=[_BYTES], ends=[_BYTES])


def refusal_of_lark(lark: str) -> str | None:
    """Return why a grammar cannot be compiled, None if it can."""
    from llguidance import LLMatcher

    return LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(lark)) or None


def refusal_of_schema(schema: str) -> str | None:
    """Return why a JSON schema, given as JSON, cannot be compiled, None if it can."""
    from llguidance import LLMatcher

    return LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(schema)) or None
