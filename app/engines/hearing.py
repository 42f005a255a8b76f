"""What is asked of an engine that hears, and what it answers. Data only; joined to :mod:`app.engines.protocols`.

Sound is a *pcm file*: raw little-endian int16, mono, 16 kHz, without header. It is
read from disk as it is needed, so its length is no matter of memory. Times are
seconds from the file's beginning.

Text is said once and never taken back: it is emitted when it stands, after the
checks that could have a stretch of sound heard again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

__all__ = ["Heard", "HearingTask", "Hears", "Segment", "Span", "Spans", "SpansWork", "TranscriptionWork", "Word"]

HearingTask = Literal["transcribe", "translate"]
Span = tuple[float, float]
"""Where something begins and ends, in seconds."""


@dataclass(frozen=True, slots=True)
class SpansWork:
    """A recording in which to find speech."""

    id: str
    audio: Path  # a pcm file
    alone: bool = False
    patient: bool = False


@dataclass(frozen=True, slots=True)
class TranscriptionWork:
    """One chunk of a recording to write down."""

    id: str
    audio: Path  # a pcm file
    start_s: float
    end_s: float  # after ``start_s``
    task: HearingTask = "transcribe"  # translate: into English
    language: str | None = None  # spoken, as ISO code; None: the model finds out
    prompt: str = ""  # text that may have come before, or what it is about
    hotwords: tuple[str, ...] = ()  # rare words that are to be expected
    temperature: float = 0.0
    seed: int = 0
    max_tokens: int | None = None  # of each stretch that is heard at once; None: by its length
    words: bool = False  # say when each word is spoken
    published: tuple[int, ...] = ()  # the text so far, by an earlier attempt: heard again, not emitted again
    alone: bool = False
    patient: bool = False
    whole: bool = True  # all of the recording: its text is emitted as it comes to stand; else in :class:`Heard` alone


@dataclass(frozen=True, slots=True)
class Spans:
    """Speech was looked for."""

    id: str
    spans: tuple[Span, ...]  # in order, none touching another; empty: nobody speaks


class Segment(NamedTuple):
    """A stretch of text and when it is spoken."""

    start_s: float
    end_s: float
    text: str
    avg_logprob: float | None = None  # of its tokens, natural logarithm; None: the family does not say
    no_speech_prob: float | None = None


class Word(NamedTuple):
    """A word with its punctuation, and when it is spoken."""

    start_s: float
    end_s: float
    word: str


@dataclass(frozen=True, slots=True)
class Heard:
    """A chunk was written down."""

    id: str
    text: str  # empty: nobody speaks
    language: str | None  # ISO code; None: nobody speaks, or the model did not say
    segments: tuple[Segment, ...]
    words: tuple[Word, ...]  # empty unless the work asks for them
    reason: Literal["stop", "length"]  # length: somewhere the budget of tokens ended the text
    warnings: tuple[str, ...]  # sentences on what may be wrong, each with its place
    prompt_tokens: int
    completion_tokens: int


@runtime_checkable
class Hears(Protocol):
    """What a frontend of a model that hears says of it, besides being a frontend."""

    finds_speech: bool  # whether its engine knows speech from noise; else somebody else has to say where it is
    longest_chunk_s: float  # a longer one is heard too, but not at once
    languages: tuple[str, ...]  # ISO codes that may be asked for
    words: bool  # whether it can say when each word is spoken
    translates: bool  # whether it can translate into English
