"""Where sentences end, in scripts with and without spaces, and where one that is too long may be cut. Pure.

Rules and not a model: a full stop after an abbreviation, an initial or a small
number does not end a sentence, nor does one before a small letter. Where that is
wrong two sentences stay together, which costs less than a cut in the middle.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

__all__ = ["ends_sentence", "place_to_cut", "sentences"]

_CLOSING = "\"'”’»)\\]}」』）】》〉"
_WIDE_STOPS = "。！？｡．।॥؟۔"
_STOP = re.compile(rf"[.!?…]+[{_CLOSING}]*(?=\s|$)|[{_WIDE_STOPS}]+[{_WIDE_STOPS}.!?…{_CLOSING}]*")
_CLAUSES = (re.compile(r"[;:](?=\s)|[；：]|\s[–—](?=\s)|——|[–—]"), re.compile(r",(?=\s)|[，、،]"), re.compile(r"\s"))
_ABBREVIATIONS = """
    mr mrs ms dr prof st jr sr rev hon gen col sgt capt lt vs etc e.g i.e cf al approx fig no nos vol pp ed inc ltd co corp dept est
    jan feb mar apr jun jul aug sep sept oct nov dec mt ave blvd a.m p.m u.s u.k ph.d
    bzw z.b d.h ca nr str usw u.a hr fr abs art mme mlle m mm sra srta ud uds pág núm sig dott ing
"""
_ABBREVIATED = frozenset(_ABBREVIATIONS.split())
_BEFORE_STOP = re.compile(r"[^\s(\[{\"'“‘«„]+$")
_SMALL_NUMBER = re.compile(r"\d{1,2}")


def sentences(paragraph: str) -> Iterator[str]:
    """Yield the sentences of *paragraph*, the space behind each with it: joined they are the paragraph."""
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


def ends_sentence(text: str) -> bool:
    """Return whether *text* ends with the end of a sentence."""
    shown = text.rstrip()
    return any(stop.end() == len(shown) and _ends(shown, 0, stop) for stop in _STOP.finditer(shown))


def place_to_cut(text: str, room: int) -> int:
    """Return where *text*, which is longer than *room* characters, is best cut within them: at a clause, else between words, else anywhere.

    The place is more than 0, and parts no letter from its accents where there is another one.
    """
    return next((end for clause in _CLAUSES if (end := _last(clause, text, room)) > room // 3), 0) or _between_letters(text, room)


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


def _last(clause: re.Pattern[str], text: str, room: int) -> int:
    """Return where the last *clause* within *room* ends, 0 where there is none."""
    return max((match.end() for match in clause.finditer(text, 0, room)), default=0)


def _between_letters(text: str, room: int) -> int:
    """Return the last place within *room* that does not part a letter from its accents."""
    place = room
    while place > 1 and (unicodedata.combining(text[place]) or text[place] in "\u200d\ufe0f" or text[place - 1] == "\u200d"):
        place -= 1
    return place if place > 1 else room
