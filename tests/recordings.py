"""Recordings for tests: sound made with numpy, put into real containers by PyAV."""

from __future__ import annotations

import io
import wave
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream

from app.audio.pcm import RATE_HZ, to_int16

__all__ = ["KINDS", "Sound", "beside_video", "read_pcm", "record", "silence", "speechlike", "tone", "write_pcm"]

Sound = npt.NDArray[np.float32]
"""Shape ``(samples,)``, or ``(samples, channels)``; in -1 to 1."""


class _Kind(NamedTuple):
    container: str
    codec: str
    layout: str | None = None  # that the codec insists on


KINDS = {
    "wav": _Kind("wav", "pcm_s16le"),
    "mp3": _Kind("mp3", "libmp3lame"),
    "m4a": _Kind("ipod", "aac"),
    "flac": _Kind("flac", "flac"),
    "ogg": _Kind("ogg", "vorbis", "stereo"),
    "opus": _Kind("ogg", "libopus"),
    "webm": _Kind("webm", "libopus"),
    "mp4": _Kind("mp4", "aac"),
    "mkv": _Kind("matroska", "aac"),
    "mov": _Kind("mov", "aac"),
    "aac": _Kind("adts", "aac"),
    "aiff": _Kind("aiff", "pcm_s16be"),
}
_ASCII_RATE_HZ = 0x3020  # no byte of it, or of its double, is above 127
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 16: "hexadecagonal"}


def tone(hz: float, seconds: float, *, rate_hz: int = 48_000, amplitude: float = 0.4) -> Sound:
    """Return a sine."""
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return (amplitude * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def silence(seconds: float) -> bytes:
    """Return a WAV in which nothing is heard: the least that is a recording. Half a second of it is ASCII, for a pipe of text."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_ASCII_RATE_HZ)
        file.writeframes(bytes(2 * round(seconds * _ASCII_RATE_HZ)))
    return out.getvalue()


def speechlike(seconds: float, *, rate_hz: int = RATE_HZ, seed: int = 1, amplitude: float = 0.3) -> Sound:
    """Return noise whose loudness moves as that of speech does: four syllables a second, with dips between."""
    count = round(seconds * rate_hz)
    noise = np.random.default_rng(seed).standard_normal(count) * amplitude / 3
    syllables = np.abs(np.sin(2 * np.pi * 2 * np.arange(count) / rate_hz)) ** 2
    return (noise * (0.02 + syllables)).astype(np.float32)


def record(path: Path, sound: Sound, *, kind: str | None = None, rate_hz: int = 48_000, codec: str | None = None) -> Path:
    """Write *sound* to *path* in the container that *kind*, or the path's name, says."""
    chosen = KINDS[kind or path.suffix[1:]]
    channels = sound[:, np.newaxis] if sound.ndim == 1 else sound
    if chosen.layout == "stereo" and channels.shape[1] == 1:
        channels = np.repeat(channels, 2, axis=1)
    with av.open(str(path), "w", format=chosen.container) as container:
        options = {"strict": "-2"} if chosen.codec == "vorbis" else {}
        name = codec or chosen.codec
        stream = container.add_stream(name, rate=rate_hz, layout=_LAYOUTS[channels.shape[1]], options=options)
        assert isinstance(stream, AudioStream)
        _fill(container, stream, channels)
    return path


def beside_video(path: Path, sound: Sound, *, rate_hz: int = 48_000, begins_s: float = 0.0) -> Path:
    """Write a video to *path* whose *sound* begins after so many seconds."""
    kind = KINDS[path.suffix[1:]]
    with av.open(str(path), "w", format=kind.container) as container:
        pictures = container.add_stream("mpeg4", rate=10)
        assert isinstance(pictures, av.VideoStream)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 64, "yuv420p"
        stream = container.add_stream(kind.codec, rate=rate_hz, layout="mono")
        assert isinstance(stream, AudioStream)
        for shade in range(round((begins_s + sound.size / rate_hz) * 10)):
            picture = np.full((64, 64, 3), shade % 256, np.uint8)
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(pictures.encode(None))
        _fill(container, stream, sound[:, np.newaxis], begins_s)
    return path


def _fill(container: av.container.OutputContainer, stream: AudioStream, channels: Sound, begins_s: float = 0.0) -> None:
    context = stream.codec_context
    layout = context.layout.name
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels.astype(np.float32)).reshape(1, -1), format="flt", layout=layout)
    frame.sample_rate = context.sample_rate
    frame.pts, frame.time_base = (
        round(begins_s * context.sample_rate),
        Fraction(1, context.sample_rate),
    )  # else some containers have no times
    resampler = av.AudioResampler(context.format.name, layout, context.sample_rate, frame_size=context.frame_size or None)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))


def write_pcm(path: Path, sound: Sound) -> Path:
    """Write *sound*, mono at 16 kHz, as a pcm file."""
    path.write_bytes(to_int16(sound).tobytes())
    return path


def read_pcm(path: Path) -> Sound:
    """Return all of a pcm file."""
    return np.fromfile(path, "<i2").astype(np.float32) / np.float32(32_768)
