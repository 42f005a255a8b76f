"""Videos made for tests, by the encoders that PyAV brings."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
from PIL import Image

__all__ = ["shade", "sound_alone", "video"]


def shade(number: int, count: int, seed: int = 0, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Return frame *number* of *count*: a bright bar that moves from left to right over a pattern."""
    across, down = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    pixels = np.stack([(across * (seed + 1)) % 128, (down * (seed + 2)) % 128, np.full_like(across, 40 * seed % 128)], -1).astype(np.uint8)
    left = (size[0] - 16) * number // max(1, count - 1)
    pixels[:, left : left + 16] = 255
    return Image.fromarray(pixels)


def video(
    count: int = 30,
    *,
    rate: int = 10,
    codec: str = "libx264",
    container: str = "mp4",
    size: tuple[int, int] = (96, 64),
    seed: int = 0,
    rotation: int = 0,
) -> bytes:
    """Return a video of *count* frames, *rate* a second."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=Fraction(rate))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        file.start_encoding()  # so that one of no frames is a video too
        for number in range(count):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(shade(number, count, seed, size)), format="rgb24")))
        file.mux(stream.encode())
    return out.getvalue()


def sound_alone() -> bytes:
    """Return an mp4 with a second of silence and nothing to see."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=16_000)
        assert isinstance(stream, av.AudioStream)
        for _ in range(16):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate = 16_000
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return out.getvalue()
