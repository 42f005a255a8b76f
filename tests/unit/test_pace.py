"""How slices find their size."""

from __future__ import annotations

from app.engines.pace import Pace


def test_full_and_fast_slices_grow_to_the_bound_and_no_further() -> None:
    pace = Pace(start=256, least=64, most=2048, target_s=0.1)
    for expected in (512, 1024, 2048, 2048):
        pace.record(pace.size, 0.01)
        assert pace.size == expected


def test_slow_slices_shrink_to_the_bound_and_no_further() -> None:
    pace = Pace(start=256, least=64, most=2048, target_s=0.1)
    for expected in (128, 64, 64):
        pace.record(pace.size, 1.0)
        assert pace.size == expected


def test_a_slice_near_the_target_changes_nothing() -> None:
    pace = Pace(start=256, least=64, most=2048, target_s=0.1)
    pace.record(256, 0.11)
    pace.record(256, 0.19)
    assert pace.size == 256


def test_a_slice_that_was_not_full_never_makes_slices_grow() -> None:
    pace = Pace(start=256, least=64, most=2048, target_s=0.1)
    pace.record(20, 0.001)
    assert pace.size == 256


def test_a_small_slice_that_took_long_says_nothing_of_the_size() -> None:
    pace = Pace(start=256, least=64, most=2048, target_s=0.1)
    pace.record(3, 2.0)
    assert pace.size == 256
