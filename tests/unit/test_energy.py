"""Speech is found by its loudness; silence, hum and noise are none."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.audio.energy import _sliding_minimum, is_silent, loudness_of, rms, speech_spans
from app.audio.pcm import RATE_HZ, blocks, duration_s, read_span
from tests.recordings import Sound, speechlike, tone, write_pcm


def silence(seconds: float) -> Sound:
    return np.zeros(round(seconds * RATE_HZ), np.float32)


def noise(seconds: float, amplitude: float, seed: int = 3) -> Sound:
    return (amplitude * np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ))).astype(np.float32)


def placed(speech_at: list[tuple[float, float]], background: Sound) -> Sound:
    sound = background.copy()
    for start_s, end_s in speech_at:
        piece = speechlike(end_s - start_s, seed=int(start_s))
        sound[round(start_s * RATE_HZ) :][: piece.size] += piece
    return sound


@pytest.mark.parametrize(
    "background", [silence(30), noise(30, 0.003), 0.01 * tone(100, 30, rate_hz=RATE_HZ)], ids=["silence", "noise", "hum"]
)
def test_speech_is_found_where_it_is(tmp_path: Path, background: Sound) -> None:
    speech = [(2.0, 5.0), (9.0, 9.8), (20.0, 28.0)]
    found = speech_spans(write_pcm(tmp_path / "a.pcm", placed(speech, background)))
    assert [(span.start_s, span.end_s) for span in found] == [pytest.approx(span, abs=0.25) for span in speech]


def test_speech_from_the_first_to_the_last_moment_is_found(tmp_path: Path) -> None:
    (span,) = speech_spans(write_pcm(tmp_path / "a.pcm", speechlike(4)))
    assert span == pytest.approx((0, 4), abs=0.25)


@pytest.mark.parametrize(
    "sound",
    [
        silence(20),
        noise(20, 0.2),
        noise(20, 0.001),
        tone(50, 20, rate_hz=RATE_HZ),
        np.concatenate([silence(10), noise(10, 0.1)]),
        np.concatenate([noise(10, 0.1), silence(10), tone(300, 10, rate_hz=RATE_HZ)]),
    ],
    ids=["silence", "loud noise", "faint noise", "hum", "noise that begins", "noise, silence, hum"],
)
def test_what_is_steady_is_no_speech(tmp_path: Path, sound: Sound) -> None:
    assert speech_spans(write_pcm(tmp_path / "a.pcm", sound)) == []


def test_an_empty_file_has_no_speech(tmp_path: Path) -> None:
    assert speech_spans(write_pcm(tmp_path / "a.pcm", silence(0))) == []


def test_spans_lie_in_order_within_the_recording(tmp_path: Path) -> None:
    sound = placed([(at, at + 1.3) for at in range(0, 298, 3)], noise(300, 0.002))
    path = write_pcm(tmp_path / "a.pcm", sound)
    spans = speech_spans(path)
    assert len(spans) == 100
    assert all(before.end_s < after.start_s for before, after in itertools.pairwise(spans))
    assert spans[0].start_s >= 0
    assert spans[-1].end_s <= duration_s(path) + 0.03


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 9))
def test_the_floor_is_the_minimum_around_each_frame(levels: list[int], reach: int) -> None:
    expected = [min(levels[max(0, at - reach) : at + reach + 1]) for at in range(len(levels))]
    assert _sliding_minimum(np.array(levels, np.float32), reach).tolist() == expected


def test_silence_is_told_from_a_faint_voice() -> None:
    assert is_silent(silence(1))
    assert is_silent(silence(0))
    assert is_silent(noise(1, 0.0002))
    assert not is_silent(np.concatenate([silence(5), speechlike(0.3, amplitude=0.02)]))


def test_loudness_is_the_root_of_the_mean_square(tmp_path: Path) -> None:
    sound = tone(440, 2, rate_hz=RATE_HZ, amplitude=0.5)
    assert rms(sound) == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)
    loudness = loudness_of(write_pcm(tmp_path / "a.pcm", np.concatenate([silence(1), sound])))
    assert loudness(0, 1) == 0
    assert loudness(1, 2) == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)


def test_a_pcm_file_is_read_by_time_and_in_pieces(tmp_path: Path) -> None:
    sound = speechlike(2.5)
    path = write_pcm(tmp_path / "a.pcm", sound)
    assert duration_s(path) == 2.5
    whole = read_span(path, 0, 99)
    assert np.abs(whole - sound).max() <= 1 / 32_768
    assert np.array_equal(np.concatenate([read_span(path, 0, 1.23456), read_span(path, 1.23456, 2.5)]), whole)
    assert np.array_equal(np.concatenate(list(blocks(path, 1000))), whole)
