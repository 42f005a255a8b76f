"""Which containers and codecs are read, and how a file is opened: by what is in it, never by its name.

The lists are short on purpose. ffmpeg knows hundreds of formats, among them
playlists that name other files and hosts; nothing but recordings is opened
here, and of a recording nothing but its sound. Lengths in headers are told,
never trusted.

Used in the process that decodes (:mod:`app.audio.decoder`) alone.
"""

from __future__ import annotations

from fractions import Fraction
from typing import BinaryIO, NamedTuple

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer

__all__ = ["HIGHEST_RATE_HZ", "LOWEST_RATE_HZ", "MOST_CHANNELS", "Description", "Refused", "check_sound", "describe", "open_sound"]

LOWEST_RATE_HZ = 2_000
HIGHEST_RATE_HZ = 768_000
MOST_CHANNELS = 64

_CONTAINERS = "wav,w64,aiff,au,caf,mp3,aac,flac,ogg,mov,matroska,amr"
_CODECS = (
    "mp1,mp1float,mp2,mp2float,mp3,mp3float,aac,alac,flac,vorbis,opus,libopus,speex,amrnb,amrwb,ac3,eac3,gsm,gsm_ms,"
    "pcm_s8,pcm_u8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,"
    "pcm_alaw,pcm_mulaw,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt"
)
_KNOWN = "wav, mp3, m4a, flac, ogg and webm, and mp4, mov and mkv with sound"
_ENCRYPTED_TAGS = frozenset({"enca", "drms"})


class Refused(Exception):
    """The file cannot be used. The text is a sentence for the user, and names no path."""


class Description(NamedTuple):
    """What a file says of itself. Nothing of it is proven."""

    container: str
    codec: str
    channels: int
    rate_hz: int
    duration_s: float | None  # None where the container does not tell


class _Source:
    """A file as ffmpeg is to see it: without its name, and with places that do not exist as an answer, not as an exception."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read = file.read
        self.tell = file.tell

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, OverflowError, ValueError):
            return -1


def open_sound(file: BinaryIO) -> tuple[InputContainer, AudioStream]:
    """Open *file* and choose its best audio stream; what the stream says of itself has been checked.

    Raises:
        Refused: It is no recording, has no sound, or sound of a kind that is not read.
    """
    lists = {"format_whitelist": _CONTAINERS, "codec_whitelist": _CODECS, "protocol_whitelist": "", "enable_drefs": "0"}
    try:
        container = av.open(_Source(file), "r", container_options=lists, metadata_errors="replace")
    except av.FFmpegError as error:
        msg = f"This is no recording that can be read, or it is damaged. Known are {_KNOWN}."
        raise Refused(msg) from error
    try:
        return container, _choose(container)
    except BaseException:  # whatever it was, nobody else can close it
        container.close()
        raise


def _choose(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        msg = "The file has no sound: no audio track is in it."
        raise Refused(msg)
    stream = container.streams.best("audio") or container.streams.audio[0]
    assert isinstance(stream, AudioStream)  # noqa: S101 - for the type checker: it was asked for by kind
    # PyAV's types say that there is always a context; without a decoder there is none.
    context: AudioCodecContext | None = stream.codec_context
    if context is not None and _tag(context) in _ENCRYPTED_TAGS:
        msg = "The recording is encrypted (protected by DRM). Send one that is not."
        raise Refused(msg)
    if context is None or context.name not in _CODECS.split(","):
        msg = "The sound is compressed in a way that is not read here. Convert the file to mp3, m4a, flac or wav."
        raise Refused(msg)
    check_sound(context.channels, context.sample_rate)
    return stream


def _tag(context: AudioCodecContext) -> str:
    """Return the four letters by which the container names the codec; empty where they are none."""
    try:
        return context.codec_tag.lower()
    except UnicodeDecodeError:
        return ""


def check_sound(channels: int, rate_hz: int) -> None:
    """Refuse what no recorder makes.

    Raises:
        Refused: The rate or the number of channels is absurd.
    """
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        msg = f"The sound has {rate_hz} samples a second; from {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} can be read."
        raise Refused(msg)
    if not 1 <= channels <= MOST_CHANNELS:
        stated = f"{channels} channels" if channels > 0 else "no number of channels that can be"
        msg = f"The sound has {stated}; from 1 to {MOST_CHANNELS} can be read."
        raise Refused(msg)


def describe(container: InputContainer, stream: AudioStream) -> Description:
    """Return what the file says of itself."""
    stated = stream.duration * stream.time_base if stream.duration and stream.time_base else None
    if stated is None and container.duration:
        stated = Fraction(container.duration, av.time_base)
    context = stream.codec_context
    duration_s = float(stated) if stated and stated > 0 else None
    return Description(container.format.name.split(",")[0], context.name, context.channels, context.sample_rate, duration_s)
