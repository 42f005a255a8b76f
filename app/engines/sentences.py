"""Long text into pieces that a voice says one after the other. Pure.

Cuts at the ends of sentences, in scripts with and without spaces. A sentence that
is too long is cut at a clause, else between words, else anywhere; sentences that
are very short stay with their neighbour, since a voice says "No." better in
company. No character is lost or changed but for the whitespace around a cut.

Rules and not a model: a full stop after an abbreviation, an initial or a small
number does not end a sentence, nor does one before a small letter. Where that is
wrong two sentences stay together, which is heard less than a cut in the middle.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

__all__ = ["LONGEST", "cut", "sayable", "weight"]

LONGEST = 240
"""The weight of the longest piece: about 20 seconds of speech."""

_SHORT = 80  # sentences are joined up to this weight
_SLOW = 3  # what a letter of a script with one letter for a syllable takes, and a digit, beside a letter of others
_CLOSING = "\"'”’»)\\]}」』）】》〉"
_WIDE_STOPS = "。！？｡．।॥؟۔"
_STOP = re.compile(rf"[.!?…]+[{_CLOSING}]*(?=\s|$)|[{_WIDE_STOPS}]+[{_WIDE_STOPS}.!?…{_CLOSING}]*")
_CLAUSES = (re.compile(r"[;:](?=\s)|[；：]|\s[–—](?=\s)|——|[–—]"), re.compile(r",(?=\s)|[，、،]"), re.compile(r"\s"))
_LINES = re.compile(r"\n\s*\n|\n(?=\s*[^\sa-zß-öø-ÿ])")  # a line that goes on with a small letter was only wrapped
_ABBREVIATIONS = """
    mr mrs ms dr prof st jr sr rev hon gen col sgt capt lt vs etc e.g i.e cf al approx fig no nos vol pp ed inc ltd co corp dept est
    jan feb mar apr jun jul aug sep sept oct nov dec mt ave blvd a.m p.m u.s u.k ph.d
    bzw z.b d.h ca nr str usw u.a hr fr abs art mme mlle m mm sra srta ud uds pág núm sig dott ing
"""
_ABBREVIATED = frozenset(_ABBREVIATIONS.split())
_BEFORE_STOP = re.compile(r"[^\s(\[{\"'“‘«„]+$")
_SMALL_NUMBER = re.compile(r"\d{1,2}")


def cut(text: str) -> list[str]:
    """Return *text* in pieces, none empty, none of more weight than :data:`LONGEST`."""
    pieces: list[str] = []
    for paragraph in _LINES.split(text):
        joined = ""
        for sentence in _sentences(paragraph):
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


def _sentences(paragraph: str) -> Iterator[str]:
    """Yield the sentences of *paragraph*, the space behind each with it."""
    begin = 0
    for stop in _STOP.finditer(paragraph):
        if _ends(paragraph, begin, stop):
            end = stop.end()
            while end < len(paragraph) and paragraph[end].isspace():
                end += 1
            yield paragraph[begin:end]
            begin = end
    if begin < len(paragraph):
        yield paragraph[begin:]


def _ends(paragraph: str, begin: int, stop: re.Match[str]) -> bool:
    """Return whether a sentence that began at *begin* ends with *stop*."""
    if stop.group()[0] in _WIDE_STOPS or not stop.group().startswith("."):
        return True
    following = paragraph[stop.end() :].lstrip()[:1]
    if following.islower():
        return False
    if len(stop.group()) > 1:
        return True
    before = _BEFORE_STOP.search(paragraph[max(begin, stop.start() - 20) : stop.start()])
    word = before.group() if before else ""
    initial = len(word) == 1 and word.isupper() and word != "I"
    return not (initial or word.lower() in _ABBREVIATED or _SMALL_NUMBER.fullmatch(word))


def _short_enough(sentence: str) -> Iterator[str]:
    """Yield *sentence* in pieces of :data:`LONGEST` at most."""
    while weight(sentence) > LONGEST:
        room = _fitting(sentence)
        end = next((end for clause in _CLAUSES if (end := _last(clause, sentence, room)) > room // 3), 0) or _between_letters(
            sentence, room
        )
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


def _last(clause: re.Pattern[str], text: str, room: int) -> int:
    """Return where the last *clause* within *room* ends, 0 where there is none."""
    return max((match.end() for match in clause.finditer(text, 0, room)), default=0)


def _between_letters(text: str, room: int) -> int:
    """Return the last place within *room* that does not part a letter from its accents."""
    place = room
    while place > 1 and (unicodedata.combining(text[place]) or text[place] in "\u200d\ufe0f" or text[place - 1] == "\u200d"):
        place -= 1
    return place if place > 1 else room
