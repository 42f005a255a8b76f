"""What a text is made of, so that two can be compared: words, or characters where a script has no spaces. Pure.

Case, accents, punctuation, and whether Chinese is written in simplified or
traditional characters make no difference; fillers, and what is said twice in a
row, count for nothing. The lists are in ``words.toml``.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["begins_as_talk", "content", "is_small", "script_of", "words_of"]

_UNSPACED = "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_APOSTROPHES = re.compile("(?<=[^\\W_])['\u2019\u02bc](?=[^\\W_])")  # don't is one word, and so is dont
_MOST_REPEATED = 3  # words that may be said twice in a row
_SCRIPTS = {"HIRAGANA": "KANA", "KATAKANA": "KANA", "KATAKANA-HIRAGANA": "KANA", "HALFWIDTH": "KANA"}


def words_of(text: str) -> list[str]:
    """Return the words of *text*, spelled so that those that are equal are the same."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(character for character in plain if not unicodedata.category(character).startswith("M"))
    return _WORD.findall(_APOSTROPHES.sub("", unicodedata.normalize("NFC", bare)).translate(_simplified()))


def content(text: str) -> list[str]:
    """Return the words of *text* without fillers and without what is said twice in a row; all where nothing else is there."""
    words = words_of(text)
    return _once(_without_fillers(words)) or words


def script_of(word: str) -> str:
    """Return which script *word* is of, by its first character; of digits nothing. Characters of Cantonese alone are one of their own."""
    first = word[0]
    if first in _cantonese():
        return "CANTONESE"
    name = unicodedata.name(first, "").partition(" ")[0]
    return "" if first.isdigit() else _SCRIPTS.get(name, name)


def is_small(word: str) -> bool:
    """Return whether *word* is one of those that hold a sentence together; of longer ones than three letters nobody knows here."""
    return word in _small()


def begins_as_talk(text: str) -> bool:
    """Return whether *text* begins as a model does that talks about a text instead of returning it."""
    return text.lstrip(" \"'*#\n").casefold().replace("\u2019", "'").startswith(_talk())


def _without_fillers(words: Sequence[str]) -> list[str]:
    fillers, kept, place = _fillers(), [], 0
    while place < len(words):
        skipped = next((length for length in fillers[1] if tuple(words[place : place + length]) in fillers[0]), 0)
        if not skipped:
            kept.append(words[place])
        place += skipped or 1
    return kept


def _once(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    place = 0
    while place < len(words):
        again = next((n for n in range(1, _MOST_REPEATED + 1) if len(kept) >= n and kept[-n:] == list(words[place : place + n])), 0)
        if not again:
            kept.append(words[place])
        place += again or 1
    return kept


@cache
def _lists() -> Mapping[str, Any]:
    return tomllib.loads(files("app.correction").joinpath("words.toml").read_text("utf-8"))


@cache
def _fillers() -> tuple[frozenset[tuple[str, ...]], tuple[int, ...]]:
    """Return the fillers as words, and their lengths, longest first."""
    known = frozenset(tuple(words_of(filler)) for filler in _lists()["fillers"])
    return known, tuple(sorted({len(filler) for filler in known}, reverse=True))


@cache
def _small() -> frozenset[str]:
    return frozenset(_lists()["small"])


@cache
def _talk() -> tuple[str, ...]:
    return tuple(_lists()["talk"])


@cache
def _cantonese() -> frozenset[str]:
    return frozenset(_lists()["cantonese"])


@cache
def _simplified() -> Mapping[int, str]:
    return {ord(old): new for old, new in zip(_lists()["traditional"], _lists()["simplified"], strict=True)}
