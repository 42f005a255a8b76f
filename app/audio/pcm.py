"""The one form that decoded sound has in here: raw little-endian int16, mono, 16 kHz, no header.

A *pcm file* is read piece by piece, by time; nothing here reads a whole one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["BYTES_PER_S", "BYTES_PER_SAMPLE", "FULL_SCALE", "RATE_HZ", "blocks", "duration_s", "read_span", "to_int16"]

RATE_HZ = 16_000
BYTES_PER_SAMPLE = 2
BYTES_PER_S = RATE_HZ * BYTES_PER_SAMPLE
FULL_SCALE = 32_768.0


def duration_s(path: Path) -> float:
    """Return how long the pcm file at *path* is."""
    return path.stat().st_size // BYTES_PER_SAMPLE / RATE_HZ


def read_span(path: Path, start_s: float, end_s: float) -> npt.NDArray[np.float32]:
    """Return the sound of a span, in -1 to 1. What lies outside the file is left out.

    Returns:
        Shape ``(samples,)``. Times are rounded to the nearest sample, so spans that touch neither share one nor leave one out.
    """
    first = max(0, round(start_s * RATE_HZ))
    count = max(0, round(end_s * RATE_HZ) - first)
    samples = np.fromfile(path, dtype="<i2", count=count, offset=first * BYTES_PER_SAMPLE)
    return samples.astype(np.float32) / np.float32(FULL_SCALE)


def blocks(path: Path, samples: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the whole pcm file in pieces of *samples*, the last one shorter."""
    with path.open("rb") as file:
        while piece := file.read(samples * BYTES_PER_SAMPLE):
            whole = len(piece) - len(piece) % BYTES_PER_SAMPLE
            yield np.frombuffer(piece[:whole], dtype="<i2").astype(np.float32) / np.float32(FULL_SCALE)


def to_int16(samples: npt.NDArray[np.floating]) -> npt.NDArray[np.int16]:
    """Return *samples*, in -1 to 1, as int16. What is louder is clipped, never wrapped; nothing is made louder."""
    scaled = np.rint(np.clip(samples, -1.0, 1.0) * FULL_SCALE)
    fitting: npt.NDArray[np.int16] = np.minimum(scaled, FULL_SCALE - 1).astype("<i2")
    return fitting
