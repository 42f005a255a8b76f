"""Reading pcm files: raw little-endian int16, mono, 16 kHz. numpy alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["SAMPLE_RATE", "Samples", "duration_s", "is_silent", "quietest_cut", "samples_of"]

SAMPLE_RATE = 16_000
_BYTES = 2
_FRAME = SAMPLE_RATE // 50
_SMOOTHED_FRAMES = 10
_SILENT_RMS = 10 ** (-70 / 20)  # of full scale: below any microphone's own noise

Samples = npt.NDArray[np.float32]
"""Sound at 16 kHz, between -1 and 1."""


def duration_s(file: Path) -> float:
    """Return how long the recording in *file* is."""
    return file.stat().st_size // _BYTES / SAMPLE_RATE


def samples_of(file: Path, start_s: float, end_s: float) -> Samples:
    """Return the sound between two times; less of it where the file ends before."""
    first = max(0, round(start_s * SAMPLE_RATE))
    count = max(0, round(end_s * SAMPLE_RATE) - first)
    return _floats(np.fromfile(file, dtype="<i2", count=count, offset=first * _BYTES))


def is_silent(sound: Samples) -> bool:
    """Return whether there is nothing to hear at any place: no sound at all, or digital silence."""
    frames = _energies(sound)
    return not frames.size or float(frames.max()) < _SILENT_RMS**2


def quietest_cut(sound: Samples, first: int, last: int) -> int:
    """Return the sample from *first* to *last* at which least is lost by a cut."""
    frames = _energies(sound[first:last])
    smooth = np.convolve(np.pad(frames, _SMOOTHED_FRAMES // 2, mode="edge"), np.ones(_SMOOTHED_FRAMES) / _SMOOTHED_FRAMES, mode="same")
    place = int(np.argmin(smooth[_SMOOTHED_FRAMES // 2 :][: len(frames)])) if frames.size else 0
    return first + place * _FRAME + _FRAME // 2


def _energies(sound: Samples) -> npt.NDArray[np.float32]:
    """Return the mean square of each 20 ms; what is left at the end is one frame more."""
    whole = len(sound) // _FRAME * _FRAME
    frames = np.square(sound[:whole]).reshape(-1, _FRAME).mean(axis=1)
    return frames if whole == len(sound) else np.append(frames, np.float32(np.square(sound[whole:]).mean()))


def _floats(sound: npt.NDArray[np.int16]) -> Samples:
    return sound.astype(np.float32) / np.float32(32768)
