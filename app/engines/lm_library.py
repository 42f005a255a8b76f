"""The parts of mlx-lm that we use, and the one door to them.

Importing mlx-lm lowers this process's limit of open files to 2048, hard limit
4096, and a hard limit cannot be raised again; the door lifts the soft one to
what is left.
"""

from __future__ import annotations

import resource
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlx_lm.generate import TextStateMachine
from mlx_lm.tokenizer_utils import NaiveStreamingDetokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["StopMatcher", "naive_detokenizer"]

_hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (_hard, _hard))

_TEXT = "text"


def naive_detokenizer(tokenizer: PreTrainedTokenizerBase) -> NaiveStreamingDetokenizer:
    """Return a detokenizer that works with any vocabulary."""
    return NaiveStreamingDetokenizer(tokenizer)


class StopMatcher:
    """Finds stop strings in text that comes in pieces, whatever the pieces.

    Text that may be the beginning of a stop string is held back until it is known not to be.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stopped = False
        # A state of None ends the machine: what follows the stop string is dropped with it.
        self._state = TextStateMachine({_TEXT: [(stop, None) for stop in stops]}).make_state(_TEXT)

    def push(self, text: str) -> str:
        """Return what may be shown after *text* came. Once ``stopped``, nothing more comes."""
        if self.stopped:
            return ""
        self._state, shown, state = TextStateMachine.step(self._state, text)
        self.stopped = state is None
        return str(shown)

    def flush(self) -> str:
        """Return what was held back, for an answer that ended without a stop string."""
        if self.stopped:
            return ""
        self._state, held, _ = TextStateMachine.flush(self._state)
        return str(held)
