"""Speech as work: what is to be said, and the sound of it as it comes. Data only, no mlx.

Long input comes as sentences. Each is made by itself, with randomness of its own
that depends on the seed and its number alone, so an attempt that begins in the
middle makes the same sound as one that began at the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Sound", "SpeechWork", "Spoken"]


@dataclass(frozen=True, slots=True)
class SpeechWork:
    """One text to say."""

    id: str
    sentences: tuple[str, ...]  # none empty
    budgets: tuple[int, ...]  # for each sentence, the codec tokens that it may take; 12.5 of Qwen3-TTS's are a second
    seed: int  # 0 <= seed < 2**63
    voice: str | None = None  # a speaker of the model, as its configuration spells it
    language: str = "auto"  # as the model's configuration spells it
    instructions: str | None = None
    reference: Path | None = None  # the voice to clone: raw int16 little-endian mono, without header
    reference_rate: int = 16_000
    reference_text: str | None = None  # what is said in the reference
    prompt_tokens: int = 0  # the most that a sentence's prompt may have, instructions and reference included
    text_tokens: int = 0  # of all sentences
    temperature: float | None = None  # this and the next three: None is the model's own
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    first: int = 0  # the sentence to begin with: those before it were published by an earlier attempt
    alone: bool = False  # a suspect: nothing else of this engine may share a slice with it
    patient: bool = False


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of one sentence, to be played right after the one before."""

    id: str
    sentence: int
    pcm: bytes  # int16, little-endian, mono; not empty
    rate: int  # samples a second
    last: bool  # of this sentence: it has been said whole


@dataclass(frozen=True, slots=True)
class Spoken:
    """A text was said. Counts are those of this attempt: sentences before ``first`` are not in them."""

    id: str
    samples: int
    rate: int
    tokens: int  # of the codec
    cut: tuple[int, ...] = ()  # sentences that were faded out at their budget: the model did not come to an end
