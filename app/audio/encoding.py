"""Turn speech into the format that a caller asked for, as it is made.

Takes int16, mono, at the rate of the model; gives bytes as soon as there are
any. What was given is never changed afterwards, so everything can be streamed:
wav tells a length only if it was known before, flac tells none, mp3 has no
table of frames. ``pcm`` is what OpenAI calls so: 24 kHz, int16, little-endian,
no header.

PyAV is imported when the first encoder is made.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, NamedTuple, Self

from app.audio.tempo import SPEEDS, Tempo, frame_of, sound_of
from app.errors import InvalidRequest

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.resampler import AudioResampler
    from av.audio.stream import AudioStream
    from av.container import OutputContainer

__all__ = ["CONTENT_TYPES", "FORMATS", "Encoder", "check_encoding", "encode", "tell_length"]

CONTENT_TYPES: Mapping[str, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
FORMATS = tuple(CONTENT_TYPES)
"""The formats, the default first."""

_PCM_RATE_HZ = 24_000
_UNKNOWN_BYTES = 0xFFFF_FFFF  # as ffmpeg and OpenAI write it when they stream
_WAV_HEADER_BYTES = 44
_FRAMES_AT_ONCE = 4_096  # where a codec takes frames of any length


class _Codec(NamedTuple):
    container: str
    encoder: str
    bit_rate: int | None
    options: Mapping[str, str]


_CODECS: Mapping[str, _Codec] = {
    "mp3": _Codec("mp3", "libmp3lame", 64_000, {"write_xing": "0", "id3v2_version": "0"}),
    # Pages of a second would keep the listener waiting for the first one.
    "opus": _Codec("ogg", "libopus", 48_000, {"page_duration": "200000"}),
    "aac": _Codec("adts", "aac", 96_000, {}),
    "flac": _Codec("flac", "flac", None, {}),
}


def check_encoding(name: str, speed: float = 1.0) -> None:
    """Check what a caller asks for before anything is done for it.

    Raises:
        InvalidRequest: The format is unknown or cannot be made here, or the speed is outside of 0.25 to 4.
    """
    if name not in CONTENT_TYPES:
        msg = f"The format {name[:40]!r} is not known; there are {', '.join(FORMATS)}."
        raise InvalidRequest(msg, param="response_format")
    if not SPEEDS[0] <= speed <= SPEEDS[1]:
        msg = f"speed must be from {SPEEDS[0]} to {SPEEDS[1]}."
        raise InvalidRequest(msg, param="speed")
    if name in _CODECS and not _has_encoder(_CODECS[name].encoder):
        possible = [other for other in FORMATS if other not in _CODECS or _has_encoder(_CODECS[other].encoder)]
        msg = f"The format {name!r} cannot be made: the PyAV of this machine was built without it. Possible are {', '.join(possible)}."
        raise InvalidRequest(msg, param="response_format")


def _has_encoder(name: str) -> bool:
    import av

    try:
        av.Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def encode(pcm: bytes, name: str, rate_hz: int, speed: float = 1.0) -> bytes:
    """Return all of *pcm* in the format *name*; a wav then tells its true length.

    Raises:
        InvalidRequest: As :func:`check_encoding`.
    """
    encoder = Encoder(name, rate_hz, speed)
    body = encoder.feed(pcm) + encoder.finish()
    if name != "wav":
        return body
    return _wav_header(rate_hz, len(body) - _WAV_HEADER_BYTES) + body[_WAV_HEADER_BYTES:]


def tell_length(file: IO[bytes]) -> None:
    """Write its true length into the header of a streamed wav *file*, which is whole and open for writing."""
    size_bytes = file.seek(0, os.SEEK_END)
    if size_bytes >= _WAV_HEADER_BYTES:
        for place, value in ((4, size_bytes - 8), (_WAV_HEADER_BYTES - 4, size_bytes - _WAV_HEADER_BYTES)):
            file.seek(place)
            file.write(struct.pack("<I", value))
        file.seek(0, os.SEEK_END)


class Encoder:
    """Takes int16 mono, gives the bytes of one file in order: what ``feed`` and ``finish`` return, joined.

    Not for use by two threads at once. To be closed, or used in a ``with``.
    """

    def __init__(self, name: str, rate_hz: int, speed: float = 1.0, *, total_samples: int | None = None) -> None:
        """Begin a file.

        Args:
            name: One of :data:`FORMATS`.
            rate_hz: Of the sound that will be fed.
            speed: How much faster it shall be spoken, at the same pitch.
            total_samples: How much will be fed, where that is known and *speed* is 1: wav tells it.

        Raises:
            InvalidRequest: As :func:`check_encoding`.
        """
        check_encoding(name, speed)
        self._tempo = Tempo(rate_hz, speed)
        self._odd = b""
        self._output: _Wav | _Pcm | _Coded
        if name == "wav":
            self._output = _Wav(rate_hz, total_samples if speed == 1.0 else None)
        elif name == "pcm":
            self._output = _Pcm(rate_hz)
        else:
            self._output = _Coded(_CODECS[name], rate_hz)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def feed(self, pcm: bytes) -> bytes:
        """Take sound and return what is ready; a sample may be cut between two calls."""
        pcm = self._odd + pcm
        whole = len(pcm) - len(pcm) % 2
        self._odd = pcm[whole:]
        return b"".join(self._output.write(piece) for piece in self._tempo.feed(pcm[:whole]))

    def finish(self) -> bytes:
        """Return the end of the file. Nothing may be fed after that."""
        rest = b"".join(self._output.write(piece) for piece in self._tempo.finish())
        return rest + self._output.finish()

    def close(self) -> None:
        """Let go of the codec; harmless when repeated, and after ``finish``."""
        self._output.close()


class _Wav:
    def __init__(self, rate_hz: int, total_samples: int | None) -> None:
        size = None if total_samples is None else total_samples * 2
        self._head = _wav_header(rate_hz, size)

    def write(self, pcm: bytes) -> bytes:
        head, self._head = self._head, b""
        return head + pcm

    def finish(self) -> bytes:
        return self.write(b"")

    def close(self) -> None:
        """Nothing is held."""


class _Pcm:
    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._resampler = None if rate_hz == _PCM_RATE_HZ else _resampler("s16", _PCM_RATE_HZ)

    def write(self, pcm: bytes) -> bytes:
        if self._resampler is None or not pcm:
            return pcm
        return self._out(frame_of(pcm, self._rate_hz))

    def finish(self) -> bytes:
        return self._out(None)

    def _out(self, frame: AudioFrame | None) -> bytes:
        if self._resampler is None:
            return b""
        return b"".join(sound_of(piece) for piece in self._resampler.resample(frame))

    def close(self) -> None:
        """Nothing is held."""


class _Sink:
    """What the container is written to. It cannot be sought in, and says so by having no ``seek``."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken = b"".join(self._written)
        self._written.clear()
        return taken


class _Coded:
    """A codec in its container."""

    def __init__(self, codec: _Codec, rate_hz: int) -> None:
        import av

        self._rate_hz = rate_hz
        self._sink = _Sink()
        self._container: OutputContainer = av.open(
            self._sink, "w", format=codec.container, container_options={"flush_packets": "1", **codec.options}
        )
        self._stream = self._add_stream(codec)
        context = self._stream.codec_context
        context.open()
        frame_samples = context.frame_size or _FRAMES_AT_ONCE
        self._resampler = _resampler(context.format.name, context.sample_rate, frame_samples)
        self._began = False

    def _add_stream(self, codec: _Codec) -> AudioStream:
        import av
        from av.audio.stream import AudioStream

        rates = av.Codec(codec.encoder, "w").audio_rates
        stream = self._container.add_stream(codec.encoder, rate=_rate_for(self._rate_hz, rates), layout="mono")
        assert isinstance(stream, AudioStream)  # noqa: S101 - for the type checker: the encoders are audio
        if codec.bit_rate:
            stream.bit_rate = codec.bit_rate
        return stream

    def write(self, pcm: bytes) -> bytes:
        if pcm:
            self._encode(frame_of(pcm, self._rate_hz))
        return self._sink.take()

    def finish(self) -> bytes:
        if not self._began:  # a file of no sound is still a file
            self._encode(frame_of(bytes(2), self._rate_hz))
        self._encode(None)
        self._container.mux(self._stream.encode(None))
        self.close()
        return self._sink.take()

    def _encode(self, frame: AudioFrame | None) -> None:
        self._began = True
        for piece in self._resampler.resample(frame):
            self._container.mux(self._stream.encode(piece))

    def close(self) -> None:
        self._container.close()


def _rate_for(rate_hz: int, rates: list[int] | None) -> int:
    """Return the rate to encode at: the model's, or the next higher one that the codec takes, else its highest."""
    if not rates or rate_hz in rates:
        return rate_hz
    return min((rate for rate in rates if rate > rate_hz), default=max(rates))


def _resampler(kind: str, rate_hz: int, frame_samples: int | None = None) -> AudioResampler:
    from av.audio.resampler import AudioResampler

    return AudioResampler(kind, "mono", rate_hz, frame_size=frame_samples)


def _wav_header(rate_hz: int, size_bytes: int | None) -> bytes:
    size = _UNKNOWN_BYTES if size_bytes is None else size_bytes
    whole = _UNKNOWN_BYTES if size_bytes is None else size_bytes + _WAV_HEADER_BYTES - 8
    return struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", whole, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, rate_hz * 2, 2, 16, b"data", size)
