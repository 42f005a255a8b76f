"""A text into pieces that are corrected one by one, and what each is told of the one before. Pure.

Joined again the pieces are the text, character for character. They end where
sentences end; a sentence is cut only where it alone is longer than a piece may be.
They are of about the same length, so that none is left with a few words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.sentence_ends import place_to_cut, sentences

__all__ = ["cut", "last_sentences"]

_PARAGRAPH = re.compile(r".+?(?:\n\s*\n|\Z)", re.DOTALL)
_TOLD_CHARACTERS = 240


def cut(text: str, longest: int) -> list[str]:
    """Return *text* in pieces of *longest* characters at most, none empty."""
    enough = -(-len(text) // max(1, -(-len(text) // longest)))  # an even share
    pieces: list[str] = []
    piece = ""
    for part in _parts(text, longest):
        if piece and len(piece) + len(part) > longest:
            pieces.append(piece)
            piece = ""
        piece += part
        if len(piece) >= enough:
            pieces.append(piece)
            piece = ""
    return [*pieces, piece] if piece else pieces


def last_sentences(text: str) -> str:
    """Return the last sentences of *text*: what fits into a few lines, or the end of one that does not."""
    told = ""
    for sentence in reversed(list(_sentences(text))):
        if told and len(sentence) + len(told) > _TOLD_CHARACTERS:
            break
        told = sentence + told
    if len(told) > _TOLD_CHARACTERS:
        rest = len(told) - _TOLD_CHARACTERS
        told = told[rest:].partition(" ")[2] or told[rest:]
    return told.strip()


def _sentences(text: str) -> Iterator[str]:
    """Yield the sentences of all paragraphs, the space behind each with it."""
    for paragraph in _PARAGRAPH.finditer(text):
        yield from sentences(paragraph.group())


def _parts(text: str, longest: int) -> Iterator[str]:
    """Yield sentences, those that are too long in parts."""
    for whole in _sentences(text):
        rest = whole
        while len(rest) > longest:
            end = place_to_cut(rest, longest)
            yield rest[:end]
            rest = rest[end:]
        yield rest
