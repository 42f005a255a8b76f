"""Turn decoded frames of any rate, layout and sample type into int16, mono, 16 kHz.

Channels are averaged here: ffmpeg's own way from stereo to mono makes sound
louder by the square root of two. The resampler filters what 16 kHz cannot
hold, so nothing folds down; what is over full scale is clipped; nothing is
made louder. Rate and layout may change between frames.

Used in the process that decodes (:mod:`app.audio.decoder`) alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from app.audio.containers import Refused, check_sound
from app.audio.pcm import RATE_HZ, to_int16

__all__ = ["Mixer"]

_BATCH_SAMPLES = 65_536  # mono samples that are resampled at a time: a call for each frame would cost as much as decoding
_KIND = tuple[str, str, int]


class Mixer:
    """Takes frames, gives int16. ``finish`` gives what the resampler still holds."""

    def __init__(self) -> None:
        self._kind: _KIND | None = None
        self._to_float: AudioResampler | None = None
        self._to_rate: AudioResampler | None = None
        self._waiting: list[npt.NDArray[np.float32]] = []
        self._waiting_samples = 0

    def feed(self, frame: AudioFrame) -> Iterator[npt.NDArray[np.int16]]:
        """Take one frame and yield what is ready.

        Raises:
            Refused: The frame's rate or channels are absurd, or a sample is no finite number.
        """
        if frame.samples == 0:
            return
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:
            yield from self.finish()
            check_sound(frame.layout.nb_channels, frame.sample_rate)
            self._kind = kind
            self._to_float = AudioResampler("flt", frame.layout, frame.sample_rate)
            self._to_rate = AudioResampler("flt", "mono", RATE_HZ)
        frame.pts = None  # of a damaged file they jump, and the resampler would fill what seems to be missing
        assert self._to_float  # noqa: S101 - for the type checker: made with the first frame
        for piece in self._to_float.resample(frame):
            # Interleaved: of more than eight separate planes PyAV reads beyond the last, and dies. The mean is taken in float64,
            # where two channels near the largest float32 stay finite.
            channels = piece.to_ndarray().reshape(-1, piece.layout.nb_channels)
            if not np.isfinite(channels).all():
                msg = "The sound has samples that are no numbers (NaN or infinity). Export it again as 16-bit or 24-bit sound."
                raise Refused(msg)
            self._waiting.append(channels.mean(axis=1, dtype=np.float64).astype(np.float32))
            self._waiting_samples += len(channels)
        if self._waiting_samples >= _BATCH_SAMPLES:
            yield from self._resample(self._take())

    def finish(self) -> Iterator[npt.NDArray[np.int16]]:
        """Yield the rest of what was fed. More may be fed after that."""
        if self._kind is not None:
            if self._waiting:
                yield from self._resample(self._take())
            yield from self._resample(None)
            self._kind = None

    def _take(self) -> AudioFrame:
        assert self._kind  # noqa: S101 - for the type checker: frames came
        frame = av.AudioFrame.from_ndarray(np.concatenate(self._waiting)[np.newaxis], format="flt", layout="mono")
        frame.sample_rate = self._kind[2]
        self._waiting, self._waiting_samples = [], 0
        return frame

    def _resample(self, frame: AudioFrame | None) -> Iterator[npt.NDArray[np.int16]]:
        assert self._to_rate  # noqa: S101 - for the type checker: made with the first frame
        for piece in self._to_rate.resample(frame):
            yield to_int16(piece.to_ndarray()[0])
