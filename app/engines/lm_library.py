"""The parts of mlx-lm that we use, and the one door to them.

Importing mlx-lm lowers this process's limit of open files to 2048, hard limit
4096, and a hard limit cannot be raised again; the door lifts the soft one to
what is left.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlx_lm.generate import TextStateMachine
from mlx_lm.tokenizer_utils import NaiveStreamingDetokenizer, TokenizerWrapper

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["TextStateMachine", "ThinkTags", "naive_detokenizer", "think_tags"]

_hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (_hard, _hard))


def naive_detokenizer(tokenizer: PreTrainedTokenizerBase) -> NaiveStreamingDetokenizer:
    """Return a detokenizer that works with any vocabulary."""
    return NaiveStreamingDetokenizer(tokenizer)


@dataclass(frozen=True, slots=True)
class ThinkTags:
    """The tags around what a model thinks."""

    start: str
    end: str
    start_tokens: tuple[int, ...]
    end_tokens: tuple[int, ...]


def think_tags(tokenizer: PreTrainedTokenizerBase) -> ThinkTags | None:
    """Return the tags that the tokenizer's vocabulary has for thinking, None where it has none."""
    wrapped = TokenizerWrapper(tokenizer)
    if not wrapped.has_thinking:
        return None
    return ThinkTags(wrapped.think_start, wrapped.think_end, tuple(wrapped.think_start_tokens), tuple(wrapped.think_end_tokens))
