"""What was heard, put into paragraphs by its pauses. Pure.

A paragraph ends where a sentence does and the speaker pauses, where somebody
pauses for long, or at the next end of a sentence once it has become long. No
word is lost, added or changed.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.audio.joining import joined_text
from app.audio.subtitles import Segment
from app.sentence_ends import ends_sentence

__all__ = ["in_paragraphs", "text_in_paragraphs"]

_PAUSE_S = 2.0
_LONG_PAUSE_S = 5.0  # whoever comes back after it begins anew, in the middle of a sentence or not
_LONG_CHARACTERS = 800


def text_in_paragraphs(text: str, segments: Iterable[Segment]) -> str:
    """Return *text* in paragraphs by the pauses of its *segments*; as it is where they are not all of it."""
    paragraphs = in_paragraphs(segments)
    return paragraphs if "".join(paragraphs.split()) == "".join(text.split()) else text


def in_paragraphs(segments: Iterable[Segment]) -> str:
    """Return the text of *segments*, an empty line between paragraphs."""
    paragraphs: list[str] = []
    paragraph, ended_s = "", 0.0
    for segment in segments:
        if not segment.text.strip():
            continue
        if paragraph and _ends(paragraph, segment.start_s - ended_s):
            paragraphs.append(paragraph)
            paragraph = ""
        paragraph = joined_text((paragraph, segment.text))
        ended_s = segment.end_s
    return "\n\n".join([*paragraphs, paragraph] if paragraph else paragraphs)


def _ends(paragraph: str, pause_s: float) -> bool:
    if pause_s >= _LONG_PAUSE_S:
        return True
    return (pause_s >= _PAUSE_S or len(paragraph) >= _LONG_CHARACTERS) and ends_sentence(paragraph)
