"""What one family must offer to be listened with, and what it says of a stretch of sound.

A listener is the half of a model on the GPU thread. It knows neither jobs nor
chunks: it hears a stretch and says what it made of it, and how sure that is. What
is to be done about a stretch that went wrong is :mod:`app.engines.chunk`'s matter.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import mlx.core as mx
from mlx_audio.stt.utils import merge_hotwords

from app.engines.faults import NOT_FINITE
from app.engines.hearing import Segment, TranscriptionWork, Word
from app.engines.pcm import Samples
from app.engines.sampling import NOT_A_TOKEN, Draw
from app.errors import EngineFailed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Listener", "Take", "budget_tokens", "drawn_of", "told_beforehand"]

_TOKENS_PER_SECOND = 15  # quick speech in languages whose characters take several tokens
_TOKENS_BESIDE = 32


@dataclass(frozen=True, slots=True)
class Take:
    """What was heard in one stretch. Times are in seconds from the stretch's beginning."""

    text: str = ""
    ids: tuple[int, ...] = ()  # of the text
    language: str | None = None
    segments: tuple[Segment, ...] = ()
    words: tuple[Word, ...] = ()
    cut_off: int = 0  # tokens after which the budget ended the text; 0: it ended by itself
    repeats: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Listener(Protocol):
    """A model of one family, in memory. On the GPU thread."""

    longest_s: float  # of a stretch

    def hear(self, work: TranscriptionWork, sound: Samples, at_s: float, language: str | None) -> Generator[None, None, Take]:
        """Hear *sound*, one bounded slice between any two yields.

        Args:
            work: What is asked.
            sound: A stretch of the work's chunk, not silent, at most ``longest_s`` long.
            at_s: Where in the file it begins: what is drawn depends on it.
            language: What is spoken; None: find out.

        Raises:
            EngineFailed: The model computed what is no number.
        """
        ...

    def close(self) -> None:
        """Let go of the weights."""
        ...


def drawn_of(logits: mx.array, draw: Draw, position: int) -> tuple[int, float]:
    """Draw from *logits*, shape (1, vocabulary); return the token and its logprob.

    Raises:
        EngineFailed: They are no finite numbers.
    """
    logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    token = draw(logprobs, [position])
    logprob = mx.take_along_axis(logprobs, mx.maximum(token, 0)[:, None], axis=-1)
    mx.eval(token, logprob)  # both at once: what is asked for afterwards may be computed again
    if (drawn := int(token[0])) == NOT_A_TOKEN:
        raise EngineFailed(NOT_FINITE)
    return drawn, float(logprob[0, 0])


def budget_tokens(work: TranscriptionWork, seconds: float) -> int:
    """Return how many tokens the text of a stretch of *seconds* may have."""
    return work.max_tokens or _TOKENS_BESIDE + round(_TOKENS_PER_SECOND * seconds)


def told_beforehand(work: TranscriptionWork, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what the model is told: prompt and hot words, without anything that it would read as its own marks."""
    told: str = merge_hotwords(work.prompt, list(work.hotwords)) or ""
    for mark in tokenizer.get_added_vocab() if told else ():
        told = told.replace(mark, " ")
    return told.strip()
