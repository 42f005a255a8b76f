"""Chunks hold all speech once, in order, within the bounds, and no long silence."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.audio.cutting import DEFAULT_BUCKETS_S, Chunk, Rules, Span, bucket_s, cut, grouped
from app.audio.pcm import RATE_HZ

_SHORT = Rules(longest_s=6, shortest_s=1, pad_s=0.2, silence_s=2)
_RULES = st.sampled_from([Rules(), _SHORT, Rules(2, 1, 0.5, 0), Rules(5, 2, 0, 10)])
# Few values, so that spans touch, coincide and fit exactly; and some at odd places.
_MOMENTS = st.sampled_from([0.0, 0.2, 0.5, 1.0, 1.5, 2.0, 2.4, 5.0, 6.0, 6.2, 8.0, 29.8, 30.0, 30.4, 35.0, 60.0, 61.0, 90.0, 95.5])
_TIMES = _MOMENTS | st.floats(0, 100)
_SPANS = st.lists(st.tuples(_TIMES, _TIMES).map(lambda pair: Span(min(pair), max(pair))), max_size=12)


def _samples(pieces: list[Chunk] | list[Span]) -> list[tuple[int, int]]:
    return [(round(piece.start_s * RATE_HZ), round(piece.end_s * RATE_HZ)) for piece in pieces]


def _merged(spans: list[Span], total_s: float) -> list[Span]:
    merged: list[Span] = []
    for span in sorted(span for span in spans if span.start_s < min(span.end_s, total_s)):
        end_s = min(span.end_s, total_s)
        if merged and span.start_s <= merged[-1].end_s:
            merged[-1] = Span(merged[-1].start_s, max(merged[-1].end_s, end_s))
        else:
            merged.append(Span(span.start_s, end_s))
    return merged


@settings(max_examples=400, deadline=None)
@given(_SPANS, st.sampled_from([100.0, 61.0, 30.0, 7.3]), _RULES, st.sampled_from(["hears", "deaf"]))
def test_the_promises_hold(spans: list[Span], total_s: float, rules: Rules, cutter: str) -> None:
    def energy(start_s: float, end_s: float) -> float:
        return (start_s + end_s) % 1.7

    chunks = cut(spans, total_s, rules, energy=energy if cutter == "hears" else None)
    bounds = _samples(chunks)
    assert all(start < end for start, end in bounds)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(bounds))
    assert all(end - start <= rules.longest_s * RATE_HZ for start, end in bounds)
    assert not bounds or (bounds[0][0] >= 0 and bounds[-1][1] <= total_s * RATE_HZ)
    speech = _merged(spans, total_s)
    for start, end in _samples(list(speech)):
        inside = sum(max(0, min(end, chunk_end) - max(start, chunk_start)) for chunk_start, chunk_end in bounds)
        assert inside >= end - start - 1  # a bound between two samples may be rounded to either
    edges = [0.0, *(edge for span in speech for edge in span), total_s]
    for silence_start_s, silence_end_s in zip(edges[::2], edges[1::2], strict=True):
        if silence_end_s - silence_start_s > rules.silence_s + 2 / RATE_HZ:
            quiet = (silence_start_s + rules.pad_s + 1 / RATE_HZ, silence_end_s - rules.pad_s - 1 / RATE_HZ)
            assert not any(chunk.start_s < quiet[1] and chunk.end_s > quiet[0] for chunk in chunks if quiet[0] < quiet[1])


@settings(max_examples=200, deadline=None)
@given(_SPANS, _RULES)
def test_no_tiny_chunk_stands_beside_one_that_it_fits_into(spans: list[Span], rules: Rules) -> None:
    chunks = cut(spans, 100, rules._replace(pad_s=0))
    for before, after in itertools.pairwise(chunks):
        tiny = min(before.end_s - before.start_s, after.end_s - after.start_s) < rules.shortest_s
        near = after.start_s - before.end_s <= rules.silence_s
        assert not (tiny and near and after.end_s - before.start_s <= rules.longest_s)


def test_without_speech_there_is_no_chunk() -> None:
    assert cut([], 3600) == []


def test_short_speech_is_one_chunk_with_a_little_silence_around_it() -> None:
    assert cut([Span(5, 7), Span(8, 12)], 60) == [Chunk(4.8, 12.2)]


def test_where_no_silence_is_none_is_added() -> None:
    assert cut([Span(0, 4)], 4) == [Chunk(0, 4)]


def test_a_cut_goes_through_the_longest_silence_of_the_window() -> None:
    spans = [Span(0, 16), Span(16.5, 20), Span(21.5, 27), Span(27.3, 45)]
    assert cut(spans, 45) == [Chunk(0, 20.2), Chunk(21.3, 45)]


def test_two_chunks_share_a_short_silence_at_its_middle() -> None:
    assert cut([Span(0, 20), Span(20.2, 45)], 45) == [Chunk(0, 20.1), Chunk(20.1, 45)]


def test_a_long_silence_is_left_out() -> None:
    assert cut([Span(0, 5), Span(15, 20)], 20) == [Chunk(0, 5.2), Chunk(14.8, 20)]


def test_the_rest_is_not_left_tiny_where_that_can_be_helped() -> None:
    spans = [Span(0, 18), Span(18.3, 29), Span(29.9, 30.5)]
    assert cut(spans, 30.5) == [Chunk(0, 18.15), Chunk(18.15, 30.5)]


def test_speech_longer_than_a_chunk_is_cut_at_its_quietest_moment() -> None:
    def energy(start_s: float, end_s: float) -> float:
        return 0.0 if start_s <= 27 <= end_s else 1.0

    first, second = cut([Span(0, 50)], 50, energy=energy)
    assert first.end_s == second.start_s == pytest.approx(27, abs=0.1)
    assert cut([Span(0, 50)], 50) == [Chunk(0, 30), Chunk(30, 50)]


def test_hours_of_speech_without_a_breath_are_cut_too() -> None:
    chunks = cut([Span(0, 6 * 3600)], 6 * 3600)
    assert chunks == [Chunk(30 * n, 30 * n + 30) for n in range(720)]


def test_rules_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be kept"):
        cut([], 10, Rules(longest_s=4, shortest_s=3))


@pytest.mark.parametrize(("length_s", "bucket"), [(0.1, 2), (2, 2), (2.01, 4), (12.5, 16), (30, 30)])
def test_a_length_goes_into_the_next_bucket(length_s: float, bucket: float) -> None:
    assert bucket_s(length_s) == bucket


def test_a_length_beyond_all_buckets_is_refused() -> None:
    with pytest.raises(ValueError, match="longest bucket"):
        bucket_s(max(DEFAULT_BUCKETS_S) + 0.1)


@given(st.integers(0, 40), st.integers(1, 12))
def test_grouped_chunks_are_few_enough_and_leave_none_out(count: int, most: int) -> None:
    chunks = [Chunk(float(number), number + 0.5) for number in range(count)]
    groups = grouped(chunks, most)
    assert len(groups) <= most
    assert (groups == chunks) if count <= most else (len(groups) < count)
    assert all(one.end_s < other.start_s for one, other in itertools.pairwise(groups))
    assert not chunks or (groups[0].start_s, groups[-1].end_s) == (chunks[0].start_s, chunks[-1].end_s)
