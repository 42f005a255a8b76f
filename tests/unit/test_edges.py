"""A sentence's sound begins when something is heard, and ends without a click."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engines.edges import Edges, pcm_of

RATE = 1000  # 20 samples are held back
PIECES = st.lists(st.lists(st.sampled_from([0.0, 0.0005, 0.5, -0.5, 1.0]), max_size=30), max_size=12)


@given(PIECES)
def test_nothing_is_lost_or_changed_but_the_last_hundredths(pieces: list[list[float]]) -> None:
    edges = Edges(RATE)
    out = [edges.add(np.array(piece, np.float32)) for piece in pieces]
    out.append(edges.end())
    whole, heard = np.array(list(itertools.chain(*pieces)), np.float32), np.concatenate(out)
    assert len(heard) == len(whole)
    np.testing.assert_array_equal(heard[:-20], whole[:-20])
    assert not len(heard) or heard[-1] == 0 or len(heard) == 1
    assert edges.heard == bool((np.abs(whole) >= 0.001).any())


@given(PIECES)
def test_nothing_goes_out_before_something_is_heard(pieces: list[list[float]]) -> None:
    edges = Edges(RATE)
    for piece in pieces:
        assert edges.add(np.array(piece, np.float32)).size == 0 or edges.heard


@pytest.mark.parametrize(("sample", "expected"), [(0.0, 0), (1.0, 32767), (-1.0, -32767), (1.5, 32767), (-9.0, -32767)])
def test_samples_become_whole_numbers_that_never_wrap(sample: float, expected: int) -> None:
    assert pcm_of(np.array([sample], np.float32)) == expected.to_bytes(2, "little", signed=True)
