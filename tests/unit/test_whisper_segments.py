"""Whisper's marks of time become segments, and what they leave open is heard again."""

from __future__ import annotations

from app.engines.whisper_segments import Stretch, stretches_of

FIRST_MARK = 1000
TEXT_ENDS = 900


def at(seconds: float) -> int:
    return FIRST_MARK + round(seconds / 0.02)


def stretches(*tokens: int, window_s: float = 20.0) -> tuple[list[Stretch], float]:
    return stretches_of(tokens, first_mark=FIRST_MARK, text_ends=TEXT_ENDS, window_s=window_s)


def test_two_marks_side_by_side_part_segments_and_one_at_the_end_says_that_nobody_speaks_after_it() -> None:
    found = stretches(at(0), 1, 2, at(2.5), at(3.5), 3, at(5))
    assert found == ([Stretch(0, 2.5, (1, 2)), Stretch(3.5, 5, (3,))], 20.0)


def test_a_text_without_an_end_is_left_to_be_heard_again() -> None:
    assert stretches(at(0), 1, at(4), at(4), 2, 3) == ([Stretch(0, 4, (1,))], 4.0)


def test_a_short_rest_without_a_text_is_done_and_a_long_one_is_heard_again() -> None:
    assert stretches(at(0), 1, at(4), at(4), window_s=4.8)[1] == 4.8
    assert stretches(at(0), 1, at(4), at(4), 2, window_s=4.8)[1] == 4.0
    assert stretches(at(0), 1, at(4), at(4), window_s=9.0)[1] == 4.0


def test_a_single_text_ends_where_it_says_or_with_the_window() -> None:
    assert stretches(at(0), 1, 2, at(7)) == ([Stretch(0, 7, (1, 2))], 20.0)
    assert stretches(at(0), 1, 2) == ([Stretch(0, 20, (1, 2))], 20.0)


def test_no_segment_ends_after_the_sound() -> None:
    assert stretches(at(0), 1, at(30), window_s=3.0) == ([Stretch(0, 3, (1,))], 3.0)
    assert stretches(at(0), 1, at(28), at(28), 2, window_s=3.0)[1] == 3.0


def test_nothing_drawn_is_one_empty_segment() -> None:
    assert stretches() == ([Stretch(0, 20, ())], 20.0)
