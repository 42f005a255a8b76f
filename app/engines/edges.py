"""The edges of a sentence's sound: where it begins to be heard, and how it ends. Pure numpy.

Silence at the beginning is held back until something sounds, so that nothing has
gone out of a sentence that turns out to be silent. The last hundredths of a second
are held back too: they go out faded, so that no end clicks, however it came.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["FADE_S", "Edges", "pcm_of"]

FADE_S = 0.02
_AUDIBLE = 0.001  # -60 dB of full scale

_Samples = npt.NDArray[np.float32]


class Edges:
    """The sound of one sentence on its way out, at *rate* samples a second."""

    def __init__(self, rate: int) -> None:
        self.heard = False  # whether anything of it can be heard
        self._tail = round(rate * FADE_S)
        self._held: _Samples = np.zeros(0, np.float32)

    def add(self, samples: _Samples) -> _Samples:
        """Take the next samples, and return those that may go out."""
        self.heard = self.heard or bool(np.any(np.abs(samples) >= _AUDIBLE))
        held = np.concatenate([self._held, samples])
        most = max(0, len(held) - self._tail) if self.heard else 0
        self._held = held[most:]
        return held[:most]

    def end(self) -> _Samples:
        """Return the rest, faded."""
        rest, self._held = self._held, np.zeros(0, np.float32)
        fading = min(len(rest), self._tail)
        ramp = np.ones(len(rest), np.float32)
        ramp[len(rest) - fading :] = np.linspace(1, 0, fading, dtype=np.float32)
        return rest * ramp


def pcm_of(samples: _Samples) -> bytes:
    """Return finite *samples* between -1 and 1 as int16, little-endian."""
    return np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
