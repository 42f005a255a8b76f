"""Looking at the sound of a stretch of a recording: whether there is any, and where it is quietest. numpy alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.audio.pcm import RATE_HZ

__all__ = ["Samples", "is_silent", "quietest_cut"]

_FRAME = RATE_HZ // 50
_SMOOTHED_FRAMES = 10
_SILENT_RMS = 10 ** (-70 / 20)  # of full scale: below any microphone's own noise

Samples = npt.NDArray[np.float32]
"""Sound at 16 kHz, between -1 and 1, as :func:`app.audio.pcm.read_span` gives it."""


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
