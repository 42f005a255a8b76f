"""Transcripts as OpenAI's answers: what was heard of a recording's chunks, put together and written in the format that was asked for.

Pure. A chunk's result is kept as JSON (:func:`chunk_facts`), so that a parent
can put together what other workers, or earlier ones, heard.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.actors.runs import Joined
from app.audio.joining import joined_text
from app.audio.languages import find_language
from app.audio.paragraphs import text_in_paragraphs
from app.audio.subtitles import Segment as Cue
from app.audio.subtitles import srt, vtt
from app.engines.hearing import Heard, Segment, Word
from app.errors import InvalidRequest

__all__ = ["Transcript", "chunk_facts", "read_chunk", "transcript_body"]


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was heard of a recording, or of a part of it."""

    text: str = ""
    language: str | None = None  # ISO code
    segments: tuple[Segment, ...] = ()
    words: tuple[Word, ...] = ()
    warnings: tuple[str, ...] = ()
    tokens: int = 0  # that the model wrote

    @classmethod
    def of(cls, heard: Heard, warnings: Iterable[str] = ()) -> Transcript:
        """Return the transcript of one chunk; *warnings* go before those of its model."""
        told = (*warnings, *heard.warnings)
        return cls(heard.text.strip(), heard.language, heard.segments, heard.words, told, heard.completion_tokens)

    @classmethod
    def together(cls, parts: Iterable[Transcript]) -> Transcript:
        """Return the transcript of chunks that follow each other. Its language is the one of the most text."""
        known = list(parts)
        spoken: dict[str, int] = {}
        for part in known:
            if part.language is not None:
                spoken[part.language] = spoken.get(part.language, 0) + len(part.text)
        return cls(
            text=joined_text(part.text for part in known),
            language=max(spoken, key=lambda language: spoken[language], default=None),
            segments=tuple(segment for part in known for segment in part.segments),
            words=tuple(word for part in known for word in part.words),
            warnings=tuple(warning for part in known for warning in part.warnings),
            tokens=sum(part.tokens for part in known),
        )


def chunk_facts(transcript: Transcript, duration_s: float) -> bytes:
    """Return a chunk's transcript, and the length of the whole recording, as the JSON that :func:`read_chunk` reads."""
    facts = {
        "duration_s": duration_s,
        "text": transcript.text,
        "language": transcript.language,
        "segments": transcript.segments,
        "words": transcript.words,
        "warnings": transcript.warnings,
        "tokens": transcript.tokens,
    }
    return _dump(facts)


def read_chunk(output: bytes) -> tuple[Transcript, float]:
    """Return what :func:`chunk_facts` wrote."""
    facts = json.loads(output)
    transcript = Transcript(
        text=facts["text"],
        language=facts["language"],
        segments=tuple(Segment(*segment) for segment in facts["segments"]),
        words=tuple(Word(*word) for word in facts["words"]),
        warnings=tuple(facts["warnings"]),
        tokens=facts["tokens"],
    )
    return transcript, facts["duration_s"]


def transcript_body(transcript: Transcript, request: Mapping[str, Any], *, task: str, duration_s: float) -> Joined:
    """Return the answer to a request.

    Args:
        transcript: What was heard.
        request: With ``response_format`` and ``timestamp_granularities``; ``for_reading``: that a verbose answer has its text in
            paragraphs, and says its language's code too.
        task: ``transcribe`` or ``translate``.
        duration_s: Of the whole recording.
    """
    # OpenAI counts begun seconds.
    usage = {"type": "duration", "seconds": math.ceil(duration_s)}
    form = request.get("response_format") or "json"
    if form == "text":
        return Joined((transcript.text + "\n").encode(), usage, "text/plain; charset=utf-8")
    cues = [Cue(_s(segment.start_s), _s(segment.end_s), segment.text) for segment in transcript.segments]
    if form in {"srt", "vtt"}:
        return Joined(
            (srt if form == "srt" else vtt)(cues).encode(), usage, "text/vtt; charset=utf-8" if form == "vtt" else "application/x-subrip"
        )
    body: dict[str, Any] = {"text": transcript.text, "usage": usage}
    if form == "verbose_json":
        asked = request.get("timestamp_granularities") or ["segment"]
        body |= {"task": task, "language": _language_name(transcript.language), "duration": round(duration_s, 3)}
        if "segment" in asked:
            body["segments"] = [_segment(number, segment, request) for number, segment in enumerate(transcript.segments)]
        if "word" in asked:
            body["words"] = [{"word": word.word.strip(), "start": _s(word.start_s), "end": _s(word.end_s)} for word in transcript.words]
        if request.get("for_reading"):
            body |= {"text": text_in_paragraphs(transcript.text, cues), "language_code": transcript.language}
    if transcript.warnings:
        body["warnings"] = transcript.warnings
    return Joined(_dump(body), usage)


def _segment(number: int, segment: Segment, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a segment in OpenAI's shape, whose numbers are never null: of a model that does not say them they are 0."""
    text = segment.text.encode()
    return {
        "id": number,
        "seek": 0,
        "start": _s(segment.start_s),
        "end": _s(segment.end_s),
        "text": segment.text,
        "tokens": [],
        "temperature": request.get("temperature") or 0.0,
        "avg_logprob": segment.avg_logprob or 0.0,
        # As Whisper measures repetition (openai/whisper, utils.py).
        "compression_ratio": round(len(text) / len(zlib.compress(text)), 3),
        "no_speech_prob": segment.no_speech_prob or 0.0,
    }


def _language_name(code: str | None) -> str:
    """Return a language as OpenAI names it, in English and in small letters; empty where nobody speaks."""
    if code is None:
        return ""
    try:
        return find_language(code).name.lower()
    except InvalidRequest:
        return code


def _s(seconds: float) -> float:
    return round(seconds, 3)


def _dump(body: Mapping[str, Any] | Sequence[Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
