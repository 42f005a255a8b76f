"""Segments of a transcript as SubRip (srt) and WebVTT text. Pure.

Promises: cues are in order and do not overlap, each lasts at least a
millisecond, and no text can be mistaken for a cue's times or end it early.
Segments without text are left out; text that is there is never lost, also
where times are unusable.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["Segment", "srt", "vtt"]

_LONGEST_MS = 1000 * 3600 * 1000 - 1  # 999:59:59.999
_BLANK_LINES = re.compile(r"\s*\n\s*")
_LINE_ENDS = re.compile(r"\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")


class Segment(NamedTuple):
    """What was said, from second to second."""

    start_s: float
    end_s: float
    text: str


class _Cue(NamedTuple):
    start_ms: int
    end_ms: int
    text: str


def srt(segments: Iterable[Segment]) -> str:
    """Return *segments* as a SubRip file."""
    cues = enumerate(_cues(segments), start=1)
    # SubRip knows no way to write an arrow that is none.
    blocks = (f"{n}\n{_time(c.start_ms, ',')} --> {_time(c.end_ms, ',')}\n{c.text.replace('-->', '→')}\n" for n, c in cues)
    return "\n".join(blocks)


def vtt(segments: Iterable[Segment]) -> str:
    """Return *segments* as a WebVTT file."""
    blocks = (f"{_time(cue.start_ms, '.')} --> {_time(cue.end_ms, '.')}\n{_escaped(cue.text)}\n" for cue in _cues(segments))
    return "\n".join(("WEBVTT\n", *blocks))


def _cues(segments: Iterable[Segment]) -> Iterator[_Cue]:
    """Yield the segments that have text: by start, rounded, each ended at the latest where the next begins."""
    spoken = ((segment, text) for segment in segments if (text := _tidy(segment.text)))
    cues = sorted((_Cue(_ms(segment.start_s), _ms(segment.end_s), text) for segment, text in spoken), key=lambda cue: cue[:2])
    free_ms = 0
    for index, cue in enumerate(cues):
        start_ms = max(cue.start_ms, free_ms)
        next_ms = cues[index + 1].start_ms if index + 1 < len(cues) else cue.end_ms
        end_ms = max(min(cue.end_ms, next_ms), start_ms + 1)
        free_ms = end_ms
        yield _Cue(start_ms, end_ms, cue.text)


def _tidy(text: str) -> str:
    """Return *text* without what ends a cue: blank lines, and characters that readers take for the end of a line."""
    return _BLANK_LINES.sub("\n", _LINE_ENDS.sub("\n", text.replace("\0", ""))).strip()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _ms(seconds: float) -> int:
    return 0 if math.isnan(seconds) else round(min(max(seconds * 1000, 0), _LONGEST_MS))


def _time(ms: int, separator: str) -> str:
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{separator}{ms:03}"
