"""How many words of a transcript were replaced by other words, and not by what was misheard for them. Pure.

Words that are confused when somebody listens sound alike, so what corrects them looks or sounds like what was there, in Latin
letters (anyascii has these for every script; of a Chinese character the Mandarin reading) or, where spelling says little, by
the classes of consonants that Soundex has. A bank that becomes a river does neither.

What is not seen: a word that was left out or added, and one that happens to look like another (man and woman). Digits may
stand for any word. Hiragana counts for nothing, for it is how words are written more than what they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import groupby

from anyascii import anyascii
from rapidfuzz.distance import Indel, Levenshtein

from app.correction.words import is_small, script_of

__all__ = ["in_latin", "swaps_in", "without_numbers"]

_ALIKE = 0.5  # so much of two words' letters is the same
_SOUNDS_ALIKE = 0.7  # or so much of their consonants, and
_HARDLY_ALIKE = 0.2  # so much of their letters
_HOT_ALIKE = 0.4  # so much of either, where one is known to be said
_MOST_IN_A_NUMBER = 6
_KEPT_WORDS = 4096
_MOST_IN_ONE = 4  # words that one word was heard as: e c g for ECG
_HAN = frozenset({"CJK", "CANTONESE"})
_UNSPACED = _HAN | {"KANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"}
_LEAST_LETTERS = {"LATIN": 3, "GREEK": 3, "CYRILLIC": 3, "ARABIC": 3, "HEBREW": 3, "KANA": 2, "CJK": 1}
_LEAST_ELSEWHERE = 2
_CLASSES = {letter: str(number) for number, letters in enumerate(("bpfv", "cgjkqsxz", "dt", "l", "mn", "r")) for letter in letters}


def swaps_in(heard: Sequence[str], found: Sequence[str], excused: Collection[str] = (), hot: Collection[str] = ()) -> int:
    """Return how many words of *heard* stand as other words in *found*.

    Args:
        heard: The words of what was heard, characters where a script has no spaces.
        found: The words of its correction.
        excused: Words of *found* that are no matter: they are marked as uncertain.
        hot: Words that are known to be said, which may be less alike.
    """
    # One character more or less may be misread by its Mandarin reading where Han is not Mandarin.
    loose = any(script_of(word) in {"CANTONESE", "KANA"} for word in (*heard, *found))
    return sum(
        min(
            _count(before, after, known=(), hot=hot, loose=loose),
            _count(after, before, known=excused, hot=hot, loose=loose),
        )
        for before, after in _differences(heard, found)
    )


def without_numbers(heard: Sequence[str], found: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return both without what is in digits on one side and in a few words on the other."""
    kept: tuple[list[str], list[str]] = ([], [])
    for equal, before, after in _stretches(heard, found):
        digits = [sum(map(_is_number, side)) for side in (before, after)]
        if equal or not (digits[0] or digits[1]) or all(digits):
            kept[0].extend(before)
            kept[1].extend(after)
            continue
        for side, theirs, numbers in ((kept[0], before, digits[1]), (kept[1], after, digits[0])):
            side.extend([word for word in theirs if not _is_number(word)][numbers * _MOST_IN_A_NUMBER :])
    return kept


def _is_number(word: str) -> bool:
    return any(character.isdigit() for character in word)


def _differences(heard: Sequence[str], found: Sequence[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Yield what stands in *found* in place of what in *heard*, in units."""
    for equal, before, after in _stretches(heard, found):
        if not equal and before and after:
            yield _units(before), _units(after)


def _stretches(heard: Sequence[str], found: Sequence[str]) -> Iterator[tuple[bool, Sequence[str], Sequence[str]]]:
    """Yield whether both are the same for a while, and each."""
    for equal, group in groupby(Levenshtein.opcodes(heard, found), key=lambda code: code.tag == "equal"):
        codes = list(group)
        yield equal, heard[codes[0].src_start : codes[-1].src_end], found[codes[0].dest_start : codes[-1].dest_end]


def _units(words: Sequence[str]) -> list[str]:
    """Return *words* with characters of an unspaced script that follow each other as one."""
    units: list[str] = []
    for script, group in groupby(words, key=_script):
        same = list(group)
        units += ["".join(same)] if script in _UNSPACED else same
    return units


def _script(word: str) -> str:
    script = script_of(word)
    return "CJK" if script in _HAN else script


def _count(units: Sequence[str], others: Sequence[str], *, known: Collection[str], hot: Collection[str], loose: bool) -> int:
    """Return how many words of *units* have nothing alike in *others*; two characters are about a word."""
    count = 0
    for place, unit in enumerate(units):
        if unit in known or not _counts(unit, loose=loose) or _is_explained(units, place, others, hot):
            continue
        count += (len(unit) + 1) // 2 if _script(unit) == "CJK" else 1
    return count


def _counts(unit: str, *, loose: bool) -> bool:
    """Return whether a word has a meaning of its own, rather than a place in the sentence."""
    script = _script(unit)
    if not script or _is_number(unit) or is_small(unit):
        return False
    if script == "KANA":
        unit = "".join(character for character in unit if not "\u3040" <= character <= "\u309f")
    least = _LEAST_LETTERS.get(script, 3 if script in _UNSPACED else _LEAST_ELSEWHERE)
    return len(unit) >= least + (loose and script == "CJK")


def _is_explained(units: Sequence[str], place: int, others: Sequence[str], hot: Collection[str]) -> bool:
    """Return whether a word is alike to one of the *others*, to some of them together, or is a part of what is alike to one."""
    if any(_are_alike(units[place], run, hot) for run in _runs(others)):
        return True
    begins = range(max(0, place - _MOST_IN_ONE + 1), place + 1)
    around = ["".join(units[begin:end]) for begin in begins for end in range(place + 1, begin + _MOST_IN_ONE + 1)]
    return any(_are_alike(run, other, hot) for run in around for other in others)


def _runs(units: Sequence[str]) -> Iterator[str]:
    for begin in range(len(units)):
        for end in range(begin + 1, min(len(units), begin + _MOST_IN_ONE) + 1):
            yield "".join(units[begin:end])


def _are_alike(one: str, other: str, hot: Collection[str]) -> bool:
    scripts = {_script(one), _script(other)}
    if scripts == {"CJK", "KANA"}:  # the same word may be written either way
        return True
    letters = Indel.normalized_similarity(in_latin(one), in_latin(other))
    sounds = 0.0 if scripts == {"CJK"} else Indel.normalized_similarity(_consonants(one), _consonants(other))
    if one in hot or other in hot:
        return max(letters, sounds) >= _HOT_ALIKE
    return letters >= _ALIKE or (sounds >= _SOUNDS_ALIKE and letters >= _HARDLY_ALIKE)


@lru_cache(_KEPT_WORDS)
def in_latin(word: str) -> str:
    """Return a word as it sounds, roughly, in Latin letters."""
    return anyascii(word).lower()


@lru_cache(_KEPT_WORDS)
def _consonants(word: str) -> str:
    classes = "".join(_CLASSES.get(letter, " ") for letter in in_latin(word))
    return "".join(one for one, _ in groupby(classes) if one != " ")
