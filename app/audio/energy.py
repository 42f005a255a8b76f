"""Where somebody may be speaking, by loudness alone: for when no model that knows speech is here.

Speech rises above what the seconds around it hold at their quietest, and its
loudness moves. So digital silence, a steady hum and steady noise give no
spans, however loud they are. Music and a dog do: this cannot tell who makes
the sound, and of speech under noise as loud as itself it finds little.

Reads the pcm file piece by piece; what is kept is one number for 30 ms, 3 MB
for six hours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.audio.cutting import Span
from app.audio.pcm import RATE_HZ, blocks, read_span

__all__ = ["SILENT_DBFS", "is_silent", "loudness_of", "rms", "speech_spans"]

SILENT_DBFS = -60.0
"""Quieter than this is silence wherever it stands: what is left of a muted microphone is louder."""

_FRAME_SAMPLES = 480  # 30 ms
_FRAME_S = _FRAME_SAMPLES / RATE_HZ
_BLOCK_SAMPLES = _FRAME_SAMPLES * 2_000  # a minute
_FLOOR_FRAMES = 333  # the quietest of 10 s to either side is the floor: nobody speaks so long without a breath
_FLOOR_SMOOTHING_FRAMES = 5
_ABOVE_FLOOR_DB = 9.0
_SHORTEST_FRAMES = 3  # shorter is a click
_CLOSED_GAP_FRAMES = 12  # a shorter gap is inside a word
_MARGIN_FRAMES = 4  # words begin and end quieter than they are
_STEADY_DB = 2.0  # the spread of loudness in what is no speech: a hum that begins after silence
_LONG_FRAMES = 33


def rms(samples: npt.NDArray[np.float32]) -> float:
    """Return the root of the mean square of *samples*, which are in -1 to 1; 0 of nothing."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if samples.size else 0.0


def is_silent(samples: npt.NDArray[np.float32]) -> bool:
    """Return whether no 30 ms of *samples* are louder than :data:`SILENT_DBFS`. A model would invent words for such a chunk."""
    return bool((_levels_dbfs(samples) < SILENT_DBFS).all())


def loudness_of(path: Path) -> Callable[[float, float], float]:
    """Return a function that says how loud a span of the pcm file at *path* is, for :func:`app.audio.cutting.cut`."""
    return lambda start_s, end_s: rms(read_span(path, start_s, end_s))


def speech_spans(path: Path) -> list[Span]:
    """Return where the pcm file at *path* may hold speech, in order, apart from each other."""
    pieces = [_levels_dbfs(block) for block in blocks(path, _BLOCK_SAMPLES)]
    if not pieces:
        return []
    levels = np.concatenate(pieces)
    loud = (levels > _floor_dbfs(levels) + _ABOVE_FLOOR_DB) & (levels >= SILENT_DBFS)
    return [Span(start * _FRAME_S, end * _FRAME_S) for start, end in _smoothed(loud, levels)]


def _levels_dbfs(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the loudness of each 30 ms, the last maybe shorter."""
    starts = np.arange(0, samples.size, _FRAME_SAMPLES)
    if not starts.size:
        return np.empty(0, np.float32)
    sums = np.add.reduceat(np.square(samples, dtype=np.float64), starts)
    lengths = np.diff(np.append(starts, samples.size))
    return (10 * np.log10(sums / lengths + 1e-12)).astype(np.float32)


def _floor_dbfs(levels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return, for each frame, the quietest smoothed level around it."""
    kernel = np.full(_FLOOR_SMOOTHING_FRAMES, 1 / _FLOOR_SMOOTHING_FRAMES, np.float32)
    edge = _FLOOR_SMOOTHING_FRAMES // 2
    smooth = np.convolve(np.pad(levels, edge, mode="edge"), kernel, mode="valid")
    return _sliding_minimum(smooth.astype(np.float32), _FLOOR_FRAMES)


def _sliding_minimum(values: npt.NDArray[np.float32], reach: int) -> npt.NDArray[np.float32]:
    """Return the minimum of the *reach* values to either side of each, in linear time (van Herk's two running minima)."""
    width = 2 * reach + 1
    padded = np.full(-(-(values.size + 2 * reach) // width) * width, np.inf, np.float32)
    padded[reach : reach + values.size] = values
    rows = padded.reshape(-1, width)
    forward = np.minimum.accumulate(rows, axis=1).ravel()
    backward = np.minimum.accumulate(rows[:, ::-1], axis=1)[:, ::-1].ravel()
    return np.minimum(backward[: values.size], forward[width - 1 : width - 1 + values.size])


def _smoothed(loud: npt.NDArray[np.bool_], levels: npt.NDArray[np.float32]) -> list[tuple[int, int]]:
    """Return runs of loud frames: short gaps closed, clicks and steady sound dropped, a margin on both sides."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], loud, [False])).astype(np.int8)))
    runs: list[tuple[int, int]] = []
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if runs and start - runs[-1][1] <= _CLOSED_GAP_FRAMES:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
    spoken: list[tuple[int, int]] = []
    for start, end in runs:
        if end - start < _SHORTEST_FRAMES or (end - start >= _LONG_FRAMES and float(np.std(levels[start + 1 : end - 1])) < _STEADY_DB):
            continue
        start, end = max(0, start - _MARGIN_FRAMES), min(levels.size, end + _MARGIN_FRAMES)  # noqa: PLW2901 - the same run, wider
        if spoken and start <= spoken[-1][1]:
            spoken[-1] = (spoken[-1][0], end)
        else:
            spoken.append((start, end))
    return spoken
