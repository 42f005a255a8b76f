"""Long text into pieces that a voice says one after the other. Pure.

Cuts at the ends of sentences, in scripts with and without spaces. A sentence that
is too long is cut at a clause, else between words, else anywhere; sentences that
are very short stay with their neighbour, since a voice says "No." better in
company. No character is lost or changed but for the whitespace around a cut.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from app.sentence_ends import place_to_cut, sentences

__all__ = ["LONGEST", "cut", "sayable", "weight"]

LONGEST = 240
"""The weight of the longest piece: about 20 seconds of speech."""

_SHORT = 80  # sentences are joined up to this weight
_SLOW = 3  # what a letter of a script with one letter for a syllable takes, and a digit, beside a letter of others
_LINES = re.compile(r"\n\s*\n|\n(?=\s*[^\sa-zß-öø-ÿ])")  # a line that goes on with a small letter was only wrapped


def cut(text: str) -> list[str]:
    """Return *text* in pieces, none empty, none of more weight than :data:`LONGEST`."""
    pieces: list[str] = []
    for paragraph in _LINES.split(text):
        joined = ""
        for sentence in sentences(paragraph):
            for piece in _short_enough(sentence):
                together = f"{joined}{piece}"
                if joined and weight(together) > _SHORT:
                    pieces.append(joined)
                    together = piece
                joined = together
        pieces.append(joined)
    return [piece for piece in map(str.strip, pieces) if piece]


def sayable(text: str) -> bool:
    """Return whether there is a letter or a digit in *text*."""
    return any(character.isalnum() for character in text)


def weight(text: str) -> int:
    """Return how long *text* takes to say, in letters of Latin script."""
    return sum(_SLOW if character.isdigit() or unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _short_enough(sentence: str) -> Iterator[str]:
    """Yield *sentence* in pieces of :data:`LONGEST` at most."""
    while weight(sentence) > LONGEST:
        room = _fitting(sentence)
        end = place_to_cut(sentence, room)
        yield sentence[:end]
        sentence = sentence[end:]
    yield sentence


def _fitting(text: str) -> int:
    """Return how many characters of *text* have no more weight than a piece may."""
    taken = 0
    for place, character in enumerate(text):
        taken += weight(character)
        if taken > LONGEST:
            return place
    return len(text)
