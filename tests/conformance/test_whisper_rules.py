"""Which of Whisper's tokens may follow: times never decrease, and there is always a token that may."""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engines.whisper_rules import TimeRules

END, NO_TIMES, FIRST = 4, 5, 6  # texts are 0 to 3, marks 6 to 15
RULES = TimeRules(vocabulary=16, end=END, no_times=NO_TIMES, first_mark=FIRST, latest_start=3)


def allowed(drawn: list[int], likely: int | None = None) -> set[int]:
    logits = mx.zeros((1, 16))
    if likely is not None:
        logits[0, likely] = 20.0
    values = np.array(RULES.apply(logits, drawn)[0])
    assert not any(math.isnan(value) for value in values)
    return {token for token, value in enumerate(values) if value > -math.inf}


@pytest.mark.parametrize(
    ("drawn", "likely", "follow"),
    [
        ([], 0, set(range(6, 10))),  # a mark within the first second
        ([8], 12, {0, 1, 2, 3, 4}),  # after the first mark a text, however likely another mark is
        ([8, 0], 0, {0, 1, 2, 3, 4, *range(9, 16)}),  # no segment ends where it began
        ([8, 0], 10, set(range(9, 16))),
        ([8, 0, 10], 4, {4, *range(10, 16)}),  # after its end the next one's begin, or the end
        ([8, 0, 10, 10], 12, {0, 1, 2, 3, 4}),
        ([8, 0, 15], 4, {4, 15}),
    ],
)
def test_what_may_follow(drawn: list[int], likely: int, follow: set[int]) -> None:
    assert allowed(drawn, likely) == follow


@given(st.lists(st.integers(0, 15), max_size=30))
def test_something_may_always_follow_and_times_never_decrease(choices: list[int]) -> None:
    drawn: list[int] = []
    for choice in choices:
        follow = allowed(drawn, choice)
        assert follow
        token = choice if choice in follow else min(follow)
        if token == END:
            break
        drawn.append(token)
    marks = [token for token in drawn if token >= FIRST]
    assert marks == sorted(marks)
