"""Models that lose themselves in repeating are noticed; speakers who do are not."""

from __future__ import annotations

import pytest

from app.engines.repetition import compresses_too_well, loops


@pytest.mark.parametrize("period", [1, 2, 7, 31, 32])
def test_the_same_few_tokens_again_and_again_are_a_loop(period: int) -> None:
    again = list(range(100, 100 + period))
    assert loops([1, 2, 3, *again * (48 // period + 4)])


@pytest.mark.parametrize(
    "ids",
    [
        [],
        [5],
        list(range(500)),
        [7] * 47,  # a long row of one sign
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] * 3,  # a refrain
        [*[9] * 60, 1],  # it came out of it
    ],
)
def test_what_people_say_is_none(ids: list[int]) -> None:
    assert not loops(ids)


def test_a_text_that_says_the_same_ever_again_compresses_too_well() -> None:
    assert compresses_too_well("I'm going to go to the store. " * 12)
    assert compresses_too_well("谢谢观看 " * 30)


def test_ordinary_texts_and_none_do_not() -> None:
    assert not compresses_too_well("")
    assert not compresses_too_well("No, no, no.")
    assert not compresses_too_well("Ever tried, ever failed. No matter, try again. Fail again. Fail better.")
