"""Where to cut a recording so that each piece can be transcribed by itself. Pure: times in, times out.

Promises: chunks are in order and do not overlap; every bit of speech is in
exactly one; none is longer than the longest allowed; no long silence is inside
one. A cut goes through the middle of the longest silence that the next chunk
may end at, and through speech only where speech alone is longer than a chunk.

Times are seconds. They are worked with in whole samples, so the bounds of
chunks fall on samples and a sum of roundings never loses one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from app.audio.pcm import RATE_HZ

__all__ = ["DEFAULT_BUCKETS_S", "DEFAULT_RULES", "Chunk", "Rules", "Span", "bucket_s", "cut", "grouped"]

DEFAULT_BUCKETS_S = (2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 20.0, 25.0, 30.0)
_SEARCH_S = 5.0  # how far back from the longest allowed a cut through speech looks for a quiet moment
_WINDOW_S = 0.1  # how long such a moment is


class Span(NamedTuple):
    """Speech, from second to second."""

    start_s: float
    end_s: float


class Chunk(NamedTuple):
    """A piece to transcribe, from second to second."""

    start_s: float
    end_s: float


class Rules(NamedTuple):
    """How to cut.

    Attributes:
        longest_s: No chunk is longer. Whisper hears 30 s at a time.
        shortest_s: A shorter chunk is joined to its neighbour where that breaks no other rule.
        pad_s: How much silence is kept on both sides of speech, where there is as much.
        silence_s: A longer silence is in no chunk.
    """

    longest_s: float = 30.0
    shortest_s: float = 3.0
    pad_s: float = 0.2
    silence_s: float = 3.0


DEFAULT_RULES = Rules()


class _Piece(NamedTuple):
    """Samples, the end excluded: of speech, or of a chunk."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


class _Limits(NamedTuple):
    """The rules in samples."""

    longest: int
    shortest: int
    pad: int
    silence: int


def cut(
    spans: Iterable[Span], total_s: float, rules: Rules = DEFAULT_RULES, *, energy: Callable[[float, float], float] | None = None
) -> list[Chunk]:
    """Return the chunks of a recording of *total_s* with speech in *spans*, in order. No speech: none.

    Args:
        spans: In any order; they may touch, overlap or reach over the end.
        total_s: How long the recording is.
        rules: How to cut.
        energy: The loudness from one second to another, in any unit. With it a cut
            through speech goes through the quietest moment of the last seconds.

    Raises:
        ValueError: The rules leave no room: *longest_s* must be at least 1 s and twice *shortest_s*.
    """
    if rules.longest_s < max(1.0, 2 * rules.shortest_s) or min(rules.shortest_s, rules.pad_s, rules.silence_s) < 0:
        msg = f"these rules cannot be kept: {rules}"
        raise ValueError(msg)
    limits = _Limits(int(rules.longest_s * RATE_HZ), _samples(rules.shortest_s), _samples(rules.pad_s), _samples(rules.silence_s))
    total = math.floor(total_s * RATE_HZ)
    speech = _merged(spans, total)
    chunks: list[_Piece] = []
    for island in _islands(speech, limits.silence):
        chunks += _joined(list(_divided(island, limits, energy)), limits)
    return [Chunk(piece.start / RATE_HZ, piece.end / RATE_HZ) for piece in _padded(chunks, total, limits)]


def bucket_s(length_s: float, buckets_s: Sequence[float] = DEFAULT_BUCKETS_S) -> float:
    """Return the shortest of *buckets_s* that *length_s* fits into: few different lengths keep a model's memory small.

    Raises:
        ValueError: It fits into none.
    """
    fitting = [bucket for bucket in buckets_s if bucket >= length_s]
    if not fitting:
        msg = f"{length_s} s is longer than the longest bucket, {max(buckets_s, default=0)} s"
        raise ValueError(msg)
    return min(fitting)


def _samples(seconds: float) -> int:
    return round(seconds * RATE_HZ)


def _merged(spans: Iterable[Span], total: int) -> list[_Piece]:
    """Return the speech within the recording, in order; what overlaps or touches is one."""
    merged: list[_Piece] = []
    for span in sorted(span for span in spans if span.start_s < span.end_s):
        start, end = max(0, math.floor(span.start_s * RATE_HZ)), min(total, math.ceil(span.end_s * RATE_HZ))
        if start >= end:
            continue
        if merged and start <= merged[-1].end:
            merged[-1] = _Piece(merged[-1].start, max(merged[-1].end, end))
        else:
            merged.append(_Piece(start, end))
    return merged


def _islands(speech: Sequence[_Piece], silence: int) -> Iterator[list[_Piece]]:
    """Yield the runs of speech between long silences."""
    island: list[_Piece] = []
    for piece in speech:
        if island and piece.start - island[-1].end > silence:
            yield island
            island = []
        island.append(piece)
    if island:
        yield island


def _divided(island: list[_Piece], limits: _Limits, energy: Callable[[float, float], float] | None) -> Iterator[_Piece]:
    """Yield the chunks of one island, without padding."""
    rest = island
    while rest:
        start, end = rest[0].start, rest[-1].end
        if end - start <= limits.longest:
            yield _Piece(start, end)
            return
        last = _best_end(rest, limits)
        if last is None:
            at = _quietest(start, limits.longest, energy)
            behind = next(index for index, piece in enumerate(rest) if piece.end > at)
            if rest[behind].start < at:
                yield _Piece(start, at)
                rest = [_Piece(at, rest[behind].end), *rest[behind + 1 :]]
            else:  # the quietest moment is a silence after all
                yield _Piece(start, rest[behind - 1].end)
                rest = rest[behind:]
        else:
            yield _Piece(start, rest[last].end)
            rest = rest[last + 1 :]


def _best_end(rest: Sequence[_Piece], limits: _Limits) -> int | None:
    """Return the piece of speech after which the next chunk best ends, None where it must end inside of one.

    The longest silence of the window's second half, else of its first; a
    chunk that would be tiny is none where the speech behind it has to be cut
    through anyway; and the rest should not be tiny either.
    """
    start, end = rest[0].start, rest[-1].end
    fitting = [index for index, piece in enumerate(rest[:-1]) if piece.end - start <= limits.longest]
    if not fitting:
        return None
    cut_anyway = rest[fitting[-1] + 1].length > limits.longest
    if cut_anyway and rest[fitting[-1]].end - start < limits.shortest:
        return None
    wishes: tuple[Callable[[int], bool], ...] = (
        lambda index: rest[index].end - start >= limits.longest // 2 and end - rest[index + 1].start >= limits.shortest,
        lambda index: rest[index].end - start >= limits.longest // 2,
        lambda index: rest[index].end - start >= limits.shortest,
        lambda _index: True,
    )
    candidates = next(found for wish in wishes if (found := [index for index in fitting if wish(index)]))
    return max(candidates, key=lambda index: (rest[index + 1].start - rest[index].end, index))


def _quietest(start: int, longest: int, energy: Callable[[float, float], float] | None) -> int:
    """Return where to cut through speech that goes on for longer than a chunk from *start* on."""
    latest = start + longest
    if energy is None:
        return latest
    window = _samples(_WINDOW_S)
    earliest = latest - min(_samples(_SEARCH_S), longest // 2)
    moments = range(latest - window, earliest - 1, -(window // 2))
    best = min(moments, key=lambda moment: energy(moment / RATE_HZ, (moment + window) / RATE_HZ))
    return best + window // 2


def _joined(pieces: list[_Piece], limits: _Limits) -> list[_Piece]:
    """Join tiny chunks of one island to a neighbour where both fit into one chunk."""
    joined: list[_Piece] = []
    for piece in pieces:
        tiny = joined and min(joined[-1].length, piece.length) < limits.shortest
        if tiny and piece.end - joined[-1].start <= limits.longest:
            joined[-1] = _Piece(joined[-1].start, piece.end)
        else:
            joined.append(piece)
    return joined


def _padded(chunks: Sequence[_Piece], total: int, limits: _Limits) -> Iterator[_Piece]:
    """Yield the chunks with silence on both sides: at most half of what lies between two, and never too much for the longest."""
    for index, chunk in enumerate(chunks):
        before = chunk.start - chunks[index - 1].end if index else 2 * chunk.start
        after = chunks[index + 1].start - chunk.end if index + 1 < len(chunks) else 2 * (total - chunk.end)
        room = limits.longest - chunk.length
        tail = min(limits.pad, after // 2, room)
        head = min(limits.pad, before // 2, room - tail)
        yield _Piece(chunk.start - head, chunk.end + tail)


def grouped(chunks: Sequence[Chunk], most: int) -> list[Chunk]:
    """Return *chunks*, neighbours taken together as evenly as can be where there are more than *most*.

    A group is longer than the rules allow, and may have a long silence inside: for those who would rather cut it again than
    have so many.
    """
    size = max(1, math.ceil(len(chunks) / most))
    return [Chunk(group[0].start_s, group[-1].end_s) for at in range(0, len(chunks), size) if (group := chunks[at : at + size])]
