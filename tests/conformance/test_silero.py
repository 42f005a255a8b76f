"""Speech is found as Silero's own loop finds it, in any length of recording and without keeping it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_audio.vad import load

from app.engines.silero_library import Silero
from app.models.voice_activity import SILERO
from tests.spoken import SENTENCES, noise, silence, spoken, write_pcm


@pytest.fixture
def folder(starter_models: Path) -> Path:
    return starter_models / SILERO.id


def found(silero: Silero, file: Path) -> tuple[list[tuple[float, float]], int]:
    rest, slices = silero.spans(file), 0
    while True:
        try:
            next(rest)
            slices += 1
        except StopIteration as ending:
            return list(ending.value), slices


def test_spans_are_those_of_the_library_window_by_window(folder: Path, tmp_path: Path) -> None:
    sound = np.concatenate([silence(1), spoken(SENTENCES[:6], [0.3, 1, 2, 0.3, 1, 2]), noise(3, 0.01)])
    file = write_pcm(tmp_path / "a.pcm", sound)
    spans, slices = found(Silero(folder), file)
    model: Any = load(folder)
    whole = model.generate(mx.array(sound.astype(np.float32) / 32768), return_seconds=True).timestamps
    assert spans == [(span["start"], span["end"]) for span in whole]
    assert len(spans) >= 4
    assert slices >= 3


def test_nothing_is_found_in_nothing(folder: Path, tmp_path: Path) -> None:
    silero = Silero(folder)
    for name, sound in {"empty": silence(0), "silent": silence(3), "short": silence(0.01), "noise": noise(5, 0.005)}.items():
        assert found(silero, write_pcm(tmp_path / name, sound))[0] == []
    (tmp_path / "odd").write_bytes(b"\1")
    assert found(silero, tmp_path / "odd")[0] == []


@pytest.mark.slow
def test_memory_stays_flat_over_hours(folder: Path, tmp_path: Path) -> None:
    with (tmp_path / "hours.pcm").open("wb") as file:
        for _ in range(120):
            file.write(noise(60, 0.005).tobytes())
    silero = Silero(folder)
    found(silero, write_pcm(tmp_path / "short.pcm", noise(60, 0.005)))
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    tracemalloc.start()
    found(silero, tmp_path / "hours.pcm")
    assert tracemalloc.get_traced_memory()[1] < 40e6
    assert mx.get_peak_memory() - before < 200e6
    tracemalloc.stop()
