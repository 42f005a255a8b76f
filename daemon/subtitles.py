"""Subtitles beside a result: the one thing that is taken from the product's own rooms, a pure function of text and times."""

from __future__ import annotations

from app.audio.subtitles import Segment, srt, vtt
from daemon.outcome import Output

__all__ = ["as_srt", "as_vtt"]


def as_srt(output: Output) -> str:
    """Return what was heard as a SubRip file."""
    return srt(_segments(output))


def as_vtt(output: Output) -> str:
    """Return what was heard as a WebVTT file."""
    return vtt(_segments(output))


def _segments(output: Output) -> list[Segment]:
    return [Segment(float(one["start"]), float(one["end"]), str(one["text"])) for one in output.get("segments") or ()]
