"""Sound is read from anywhere in a file, and cut where nobody speaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.audio.pcm import RATE_HZ, duration_s, read_span
from app.engines.pcm import is_silent, quietest_cut
from tests.spoken import noise, silence, write_pcm


def test_a_stretch_is_read_and_what_the_file_lacks_is_not(tmp_path: Path) -> None:
    file = write_pcm(tmp_path / "a.pcm", np.arange(32_000, dtype=np.int16))
    assert duration_s(file) == 2.0
    assert read_span(file, 0.5, 0.501).tolist() == [number / 32768 for number in range(8000, 8016)]
    assert len(read_span(file, 1.5, 9)) == 8000
    assert not read_span(file, 5, 9).size


def test_a_byte_too_many_is_no_sample(tmp_path: Path) -> None:
    file = tmp_path / "odd.pcm"
    file.write_bytes(b"\1\0\1\0\1")
    assert duration_s(file) == 2 / RATE_HZ
    assert len(read_span(file, 0, 1)) == 2


@pytest.mark.parametrize(("level", "silent"), [(0.0, True), (0.0001, True), (0.001, False), (0.1, False)])
def test_silence_is_what_no_microphone_is_below(level: float, silent: bool) -> None:  # noqa: FBT001 - a case's answer
    assert is_silent((noise(3, level) / 32768).astype(np.float32)) == silent


def test_a_short_sound_amid_silence_is_heard() -> None:
    sound = np.concatenate([silence(10), noise(0.1, 0.05), silence(10)]) / 32768
    assert not is_silent(sound.astype(np.float32))
    assert is_silent(np.zeros(0, dtype=np.float32))


def test_a_cut_falls_into_the_pause() -> None:
    sound = (np.concatenate([noise(3.2, 0.1), silence(0.4), noise(4, 0.1)]) / 32768).astype(np.float32)
    cut = quietest_cut(sound, len(sound) // 3, len(sound) * 2 // 3)
    assert 3.25 < cut / RATE_HZ < 3.55
