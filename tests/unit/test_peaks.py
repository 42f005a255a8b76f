"""What was measured is known next time, for the same files alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.models.footprint import Footprint
from app.models.spec import ModelSpec
from app.scheduler.peaks import Peak, Peaks, known_footprint, load_need_bytes

ESTIMATE = Footprint(weights_bytes=1000, activation_bytes=100, context=4096, float_bytes=2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "peaks.json"


def test_measured_weights_replace_the_estimate_after_a_restart(file: Path) -> None:
    Peaks(file).record_load("a", "4bit", 900)
    assert known_footprint(ESTIMATE, Peaks(file).recall("a", "4bit")).weights_bytes == 900


def test_of_slices_the_largest_counts_and_never_makes_the_estimate_smaller(file: Path) -> None:
    peaks = Peaks(file)
    for size, expected in ((40, 100), (150, 150), (120, 150)):
        peaks.record_slice("a", "4bit", size)
        assert known_footprint(ESTIMATE, Peaks(file).recall("a", "4bit")).activation_bytes == expected


def test_a_model_that_was_never_measured_keeps_its_estimate(file: Path) -> None:
    assert known_footprint(ESTIMATE, Peaks(file).recall("a", "4bit")) == ESTIMATE


def test_another_quantisation_under_the_same_name_begins_anew(file: Path) -> None:
    peaks = Peaks(file)
    peaks.record_load("a", "4bit", 900)
    peaks.record_slice("a", "4bit", 300)
    peaks.record_load("a", "8bit", 1700)
    assert Peaks(file).recall("a", "8bit") == Peak(fingerprint="8bit", weights_bytes=1700)
    assert Peaks(file).recall("a", "4bit") == Peak(fingerprint="4bit")


def test_what_hardly_changed_is_not_written_again(file: Path) -> None:
    peaks = Peaks(file)
    peaks.record_load("a", "4bit", 1000)
    file.unlink()
    peaks.record_load("a", "4bit", 1001)
    assert not file.exists()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": {"weights_bytes": -5, "fingerprint": "x"}}', b"\xff"])
def test_a_file_that_is_no_good_is_begun_anew(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    peaks = Peaks(file)
    assert peaks.recall("a", "x") == Peak(fingerprint="x")
    peaks.record_load("a", "x", 7)
    assert Peaks(file).recall("a", "x").weights_bytes == 7
    assert [entry.name for entry in file.parent.iterdir()] == ["peaks.json"]


def test_what_the_catalog_says_comes_before_both() -> None:
    entry = {"id": "a", "repo": "a/a", "tasks": ["chat"]}
    assert load_need_bytes(ModelSpec.model_validate(entry | {"memory": "9GB"}), ESTIMATE) == 9 * 10**9
    assert load_need_bytes(ModelSpec.model_validate(entry), ESTIMATE) == ESTIMATE.load_need_bytes
