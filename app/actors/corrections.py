"""What came of a transcript's children, and the transcript that is made of it. Pure.

What was heard is never lost: it is the output's ``text`` whatever becomes of its
correction, and a piece that was not corrected is in ``corrected`` as it was heard.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from app.actors.runs import Joined
from app.audio.languages import find_language
from app.audio.paragraphs import text_in_paragraphs
from app.audio.subtitles import Segment
from app.correction.guard import Verdict, judged
from app.correction.prompts import fitting
from app.errors import InvalidRequest
from app.jobs.chains import EndedChild
from app.jobs.transcript_requests import TranscriptFields

__all__ = ["Correction", "Raw", "read_correction", "read_raw", "transcript_output"]

_COUNTED = ("prompt_tokens", "completion_tokens", "total_tokens")
_NOBODY = "Nobody speaks in this recording, as far as the model hears."


class Raw(NamedTuple):
    """A recording as it was heard."""

    text: str  # in paragraphs
    segments: tuple[Segment, ...]
    language: str | None  # ISO code; None: nobody speaks, or the model did not say
    language_name: str | None  # in English
    duration_s: float
    warnings: tuple[str, ...]


class Correction(NamedTuple):
    """What became of one piece."""

    raw: str
    verdict: Verdict
    answered: bool  # by the model, well or badly
    usage: Mapping[str, int]

    @property
    def text(self) -> str:
        """The piece as it is in the corrected text, the space behind it as it was."""
        corrected = self.verdict.corrected
        return self.raw if corrected is None else corrected + self.raw[len(self.raw.rstrip()) :]


def read_raw(body: Mapping[str, Any]) -> Raw:
    """Return what an answer for reading of :func:`app.actors.transcripts.transcript_body` says."""
    segments = tuple(Segment(one["start"], one["end"], one["text"].strip()) for one in body["segments"])
    code, name = _language(body["language"])
    text = text_in_paragraphs(body["text"], segments)  # as it is already, unless an older worker wrote it
    return Raw(text.strip(), segments, code, name, body["duration"], tuple(body.get("warnings", ())))


def read_correction(piece: str, before: str, child: EndedChild, hotwords: Sequence[str]) -> Correction:
    """Return what became of *piece*, whose model was told the text *before* it and some *hotwords*."""
    if child.output is None:
        return Correction(piece, Verdict(None, "failed"), answered=False, usage={})
    (choice,) = json.loads(child.output)["choices"]
    verdict = judged(piece, choice["message"]["content"], cut_off=choice["finish_reason"] == "length", before=before, hotwords=hotwords)
    return Correction(piece, verdict, answered=True, usage=child.usage or {})


def transcript_output(raw: Raw, asked: TranscriptFields, corrections: Sequence[Correction], model: str) -> Joined:
    """Return the output of a transcript.

    Args:
        raw: As it was heard.
        asked: The request.
        corrections: Of all pieces, in order; none where nothing was to be corrected.
        model: That heard.
    """
    tokens = {name: sum(one.usage.get(name, 0) for one in corrections) for name in _COUNTED}
    # OpenAI counts begun seconds.
    usage = {"type": "duration", "seconds": math.ceil(raw.duration_s), **(tokens if asked.corrects else {})}
    heard = [*raw.warnings, *(() if raw.text else (_NOBODY,))]
    body = {
        "object": "transcript",
        "model": model,
        "correction_model": asked.correction_model if asked.corrects else None,
        "language": raw.language,
        "duration": raw.duration_s,
        "text": raw.text,
        "segments": [{"start": one.start_s, "end": one.end_s, "text": one.text} for one in raw.segments],
        "corrected": "".join(one.text for one in corrections).strip() if asked.corrects else None,
        "pieces": [_piece(one) for one in corrections],
        "corrected_pieces": sum(one.verdict.corrected is not None for one in corrections),
        "total_pieces": len(corrections),
        "uncertain_words": list(dict.fromkeys(word for one in corrections for word in one.verdict.uncertain)),
        "warnings": [*heard, *_warnings(asked, corrections)],
        "heard_warnings": heard,
        "usage": usage,
    }
    return Joined(json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(), usage)


def _piece(one: Correction) -> dict[str, Any]:
    verdict = one.verdict
    return {"raw": one.raw, "corrected": verdict.corrected, "kept_raw": verdict.kept_raw, "uncertain": verdict.uncertain}


def _warnings(asked: TranscriptFields, corrections: Sequence[Correction]) -> Iterator[str]:
    kept = Counter(str(one.verdict.kept_raw) for one in corrections if one.verdict.corrected is None)
    if kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in kept.items())
        yield f"{kept.total()} of {len(corrections)} pieces are as they were heard: {reasons}."
    hotwords = asked.hotwords or ()
    if corrections and (told := fitting(hotwords)) < len(hotwords):
        yield f"Of {len(hotwords)} hot words the first {told} were told to {asked.correction_model!r}."


def _language(name: str) -> tuple[str | None, str | None]:
    """Return code and name of what a transcription calls its language; one that is not known is its own code."""
    if not name:
        return None, None
    try:
        known = find_language(name)
    except InvalidRequest:
        return name, None
    return known.code, known.name
