"""One chunk of a recording into text, as a sequence of slices.

A chunk is heard in stretches that the model can take. One whose text ran out of its budget, or that repeats itself, is heard once
more as two, cut where it is quietest. What is still so then is kept and said in the
warnings: nothing is cut off in silence. Silence is an empty text, and no model is asked.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Generator, Sequence
from typing import NamedTuple

from app.audio.pcm import RATE_HZ, read_span
from app.engines.hearing import Heard, TranscriptionWork
from app.engines.listening import Listener, Take
from app.engines.pcm import Samples, is_silent, quietest_cut
from app.engines.protocols import Tokens

__all__ = ["hear_chunk"]

_LEAST_TO_CUT_S = 2.0  # half of less is hardly a word


class _Piece(NamedTuple):
    """A stretch and what was heard in it; times from the file's beginning."""

    start_s: float
    end_s: float
    take: Take


def hear_chunk(work: TranscriptionWork, listener: Listener) -> Generator[Tokens | None, None, Heard]:
    """Hear *work*'s chunk; yields text once it stands, and None after other slices."""
    sound, at_s, language = read_span(work.audio, work.start_s, work.end_s), work.start_s, work.language
    pieces: list[_Piece] = []
    while sound.size:
        stretch, sound = _cut_off(sound, round(listener.longest_s * RATE_HZ))
        if not is_silent(stretch):
            for piece in (yield from _heard_twice(work, listener, stretch, at_s, language)):
                language = language or piece.take.language
                pieces.append(piece)
                yield from _shown(work, pieces)
        at_s += len(stretch) / RATE_HZ
    return _heard_of(work, pieces)


def _cut_off(sound: Samples, longest: int) -> tuple[Samples, Samples]:
    """Return the first stretch of *sound*, at most *longest* samples, and the rest."""
    cut = len(sound) if len(sound) <= longest else quietest_cut(sound, longest * 2 // 3, longest)
    return sound[:cut], sound[cut:]


def _heard_twice(
    work: TranscriptionWork, listener: Listener, sound: Samples, at_s: float, language: str | None
) -> Generator[None, None, list[_Piece]]:
    """Return what was heard at once or, where that went wrong, in two."""
    whole = yield from _heard(work, listener, sound, at_s, language)
    if not _went_wrong(whole.take) or len(sound) < _LEAST_TO_CUT_S * RATE_HZ:
        return [whole]
    cut = quietest_cut(sound, len(sound) // 3, len(sound) * 2 // 3)
    pieces: list[_Piece] = []
    for start, half in ((0, sound[:cut]), (cut, sound[cut:])):
        if not is_silent(half):
            pieces.append((yield from _heard(work, listener, half, at_s + start / RATE_HZ, whole.take.language)))
    return pieces


def _heard(work: TranscriptionWork, listener: Listener, sound: Samples, at_s: float, language: str | None) -> Generator[None, None, _Piece]:
    take = yield from listener.hear(work, sound, at_s, language)
    return _Piece(at_s, at_s + len(sound) / RATE_HZ, take)


def _went_wrong(take: Take) -> bool:
    return bool(take.cut_off) or take.repeats


def _shown(work: TranscriptionWork, pieces: Sequence[_Piece]) -> Generator[Tokens, None, None]:
    """Emit what the last of *pieces* adds to the text, unless an earlier attempt did."""
    take = pieces[-1].take
    before, ids = _text(pieces[:-1]), sum(len(piece.take.ids) for piece in pieces)
    added = _text(pieces)[len(before) :]
    if work.whole and added and ids > len(work.published):
        yield Tokens(work.id, take.ids, added)


def _heard_of(work: TranscriptionWork, pieces: Sequence[_Piece]) -> Heard:
    takes = [piece.take for piece in pieces]
    return Heard(
        id=work.id,
        text=_text(pieces),
        language=next((take.language for take in takes if take.language), work.language if takes else None),
        segments=tuple(
            segment._replace(start_s=start + segment.start_s, end_s=start + segment.end_s)
            for start, _, take in pieces
            for segment in take.segments
        ),
        words=tuple(
            word._replace(start_s=start + word.start_s, end_s=start + word.end_s) for start, _, take in pieces for word in take.words
        ),
        reason="length" if any(take.cut_off for take in takes) else "stop",
        warnings=tuple(warning for piece in pieces for warning in _warnings(piece)),
        prompt_tokens=sum(take.prompt_tokens for take in takes),
        completion_tokens=sum(take.completion_tokens for take in takes),
    )


def _warnings(piece: _Piece) -> list[str]:
    where = f"Between {piece.start_s:.1f} s and {piece.end_s:.1f} s"
    said = []
    if piece.take.repeats:
        said.append(f"{where} the model repeated itself; the text there may be wrong.")
    if piece.take.cut_off:
        said.append(f"{where} the text ended after the {piece.take.cut_off} tokens that it may have; what follows may be missing.")
    return said


def _text(pieces: Sequence[_Piece]) -> str:
    """Return the texts as one, with a space between two unless one side is of a script that has none."""
    whole = ""
    for text in (piece.take.text.strip() for piece in pieces):
        space = " " if whole and text and not (_is_wide(whole[-1]) or _is_wide(text[0])) else ""
        whole += space + text
    return whole


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF" and not "\uac00" <= character <= "\ud7a3"  # Korean has spaces
