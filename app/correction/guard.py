"""Whether a model's answer is the piece of a transcript corrected, or something else: then the piece stays as it was heard. Pure.

Compares letters in their order, fillers, accents and punctuation left out. A
correction keeps nearly all of them and adds few, since words that were confused
sound alike, and in most scripts look alike; an answer, a summary, a translation or
other words for the same do not. The numbers were found with texts in many
languages (``tests/corrections.toml``), where corrections have 0.84 of their letters
in common and most else 0.72 at most. Then compares words, since among many letters
one that became quite another word does not weigh (:mod:`app.correction.swaps`). In
doubt the raw text stays: a wrong correction is worse than none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from rapidfuzz.distance import Indel, LCSseq

from app.correction.answers import bare, uncertain_in, unmarked
from app.correction.swaps import in_latin, swaps_in, without_numbers
from app.correction.words import begins_as_talk, content, script_of, words_of
from app.sentence_ends import sentences

__all__ = ["KeptRaw", "Verdict", "judged"]

KeptRaw = Literal["answered", "translated", "summarised", "runaway", "failed", "looped", "empty", "reworded"]
"""Why a piece stays as it was heard; ``translated`` also where it is said in other words, ``failed`` where there is no answer."""

_LEAST_IN_COMMON = 0.75  # of the piece's letters, and of the answer's
_WORDS_A_SWAP = 100  # of the piece, for each that may have become another word; so in a sentence none may
_LONGER = 1.3  # than a piece that it has
_MUCH_LONGER = 2.0
_SHORTER = 0.6
_OTHER_WORDS = 0.6  # so much is in common where the same is said in other words, or in a language nearby
_FEW_WORDS = 12  # of so few any may be the same by chance
_SAME_LANGUAGE = 0.2  # so many of an answer's words are the piece's, if both are of one language
_FEWEST_OF_A_SCRIPT = 4
_LEAST_OF_A_SCRIPT = 0.4
_ROW = 5  # words in a row that are looked for again
_FEWEST_ROWS = 16
_REPEATED = 0.5
_REPEATED_MORE = 0.3
_SAME_SENTENCE = 0.85
_COMPLETE = 0.85


class Verdict(NamedTuple):
    """What becomes of a piece."""

    corrected: str | None  # None: it stays as it was heard
    kept_raw: KeptRaw | None  # and why
    uncertain: tuple[str, ...] = ()  # words that the model marked


def judged(raw: str, answer: str, *, cut_off: bool = False, before: str = "", hotwords: Sequence[str] = ()) -> Verdict:
    """Return what becomes of a piece.

    Args:
        raw: The piece.
        answer: What the model wrote, all of it.
        cut_off: The answer was longer than it might be.
        before: What the model was told came before the piece.
        hotwords: Names and terms that it was told.
    """
    text = bare(answer, raw)
    if _repeats(text, raw):
        return Verdict(None, "looped")
    if cut_off:
        return Verdict(None, "runaway")
    heard = content(raw)
    text = _without_note(_without_context(text, raw, before), heard)
    uncertain = tuple(uncertain_in(text))
    found = content(unmarked(text))
    reason = _reason(heard, found, talk=begins_as_talk(answer) or begins_as_talk(text))
    if reason is None:
        swaps = swaps_in(heard, found, excused=_words(uncertain), hot=_words(hotwords))
        reason = "reworded" if swaps > len(heard) // _WORDS_A_SWAP else None
    return Verdict(None, reason) if reason else Verdict(text, None, uncertain)


def _words(texts: Sequence[str]) -> frozenset[str]:
    return frozenset(word for text in texts for word in words_of(text))


def _reason(heard: Sequence[str], found: Sequence[str], *, talk: bool) -> KeptRaw | None:
    """Return why an answer of the words *found* is no correction of *heard*; None: it is one."""
    if not found:
        return "empty"
    kept, own = _in_common(heard, found)
    if min(kept, own) >= _LEAST_IN_COMMON:
        return "translated" if _lost_a_script(heard, found) else None
    known = frozenset(heard)
    same_words = sum(word in known for word in found) / len(found)
    length = len("".join(found)) / max(1, len("".join(heard)))
    rules: tuple[tuple[bool, KeptRaw], ...] = (
        (talk, "answered"),
        (same_words < _SAME_LANGUAGE or _lost_a_script(heard, found), "translated"),
        (length > (_LONGER if kept >= _LEAST_IN_COMMON else _MUCH_LONGER), "runaway"),
        (length < _SHORTER, "summarised"),
        (len(heard) >= _FEW_WORDS and min(kept, own) >= _OTHER_WORDS, "translated"),
    )
    return next((reason for holds, reason in rules if holds), "answered")


def _in_common(heard: Sequence[str], found: Sequence[str]) -> tuple[float, float]:
    """Return how much of either is the other's too, in the same order: of the letters, or of the sounds, where that is more."""
    pair = without_numbers(heard, found)
    return max(_shared(*map("".join, pair)), _shared(*("".join(map(in_latin, words)) for words in pair)), key=min)


def _shared(one: str, other: str) -> tuple[float, float]:
    same = LCSseq.similarity(one, other)
    return same / max(1, len(one)), same / max(1, len(other))


def _lost_a_script(heard: Sequence[str], found: Sequence[str]) -> bool:
    """Return whether what was of one script, or Cantonese, is not any more."""
    before, after = Counter(map(script_of, heard)), Counter(map(script_of, found))
    shrunk = min(1.0, len(found) / max(1, len(heard)))
    return any(
        count >= _FEWEST_OF_A_SCRIPT and after[script] < _LEAST_OF_A_SCRIPT * count * shrunk for script, count in before.items() if script
    )


def _repeats(text: str, raw: str) -> bool:
    """Return whether *text* says the same words again and again, and *raw* does not."""
    again = _repetition(words_of(text))
    return again > _REPEATED and again > _repetition(words_of(raw)) + _REPEATED_MORE


def _repetition(words: Sequence[str]) -> float:
    """Return how many of the rows of a few words were there before."""
    rows = [tuple(words[place : place + _ROW]) for place in range(len(words) - _ROW + 1)]
    return 1 - len(set(rows)) / len(rows) if len(rows) >= _FEWEST_ROWS else 0.0


def _without_context(text: str, raw: str, before: str) -> str:
    """Cut sentences at the beginning that are those before the piece, said again."""
    told = ["".join(words_of(sentence)) for sentence in sentences(before)]
    while told and text:
        first = next(sentences(text))
        letters = "".join(words_of(first))
        begin = "".join(words_of(raw))[: len(letters)]
        of_context = max(Indel.normalized_similarity(letters, sentence) for sentence in told)
        if not letters or of_context < _SAME_SENTENCE or of_context <= Indel.normalized_similarity(letters, begin):
            break
        text = text[len(first) :].lstrip()
    return text


def _without_note(text: str, heard: Sequence[str]) -> str:
    """Cut last paragraphs that are about the text: the rest has all of the piece, and more of it in common."""
    rest, _, note = text.rpartition("\n\n")
    if not rest or not note:
        return text
    found = content(unmarked(rest))
    kept, own = _in_common(heard, found)
    if kept < _COMPLETE or own <= _in_common(heard, content(unmarked(text)))[1]:
        return text
    return _without_note(rest.rstrip(" \n-*_"), heard)
