"""Where a container says that its sound stands in time, so that what is missing is noticed and nothing moves.

Containers with true times (Ogg, Matroska, MP4) may begin later than their other
tracks, and a damaged one has holes that no decoder reports. Where a file is
nothing but frames, times are counted from what came, and tell nothing.

Used in the process that decodes (:mod:`app.audio.decoder`) alone.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

__all__ = ["Timeline", "stated_end_s"]

_GAP_S = 0.2  # codecs' delays, and timestamps of whole milliseconds, are below
_UNSENT_S = 0.5  # who speaks Opus over a network may send nothing in silence but a packet every 0.4 s (RFC 7587, 3.1.3)
_TIMED = ("ogg", "matroska", "webm", "mov", "mp4")
_OPUS_HZ = 48_000  # of its granules, whatever was recorded (RFC 7845, 4)
_TAIL_BYTES = 256 * 1024
_PAGE_HEAD = 14


class Timeline:
    """Tells of each frame how much silence stands before it."""

    def __init__(self, container: InputContainer) -> None:
        names = container.format.name.split(",")
        self._timed = any(name in names for name in _TIMED)
        self._next_s = (container.start_time or 0) / av.time_base
        self._begun = False
        # Where there is nothing but sound, a hole in it is damage; beside pictures it may be meant.
        self._alone = all(stream.type == "audio" for stream in container.streams)
        self.lost_s = 0.0

    def gap_s(self, frame: AudioFrame) -> float:
        """Return the seconds between the end of what came before *frame* and its beginning; 0 where that is nothing to speak of."""
        if not self._timed or frame.pts is None or frame.time_base is None:
            return 0.0
        at_s = float(frame.pts * frame.time_base)
        gap_s = at_s - self._next_s
        if gap_s < _GAP_S:
            gap_s = 0.0
        elif self._begun and self._alone and gap_s > _UNSENT_S:
            self.lost_s += gap_s
        self._begun = True
        self._next_s = max(self._next_s, at_s) + frame.samples / frame.sample_rate
        return gap_s


def stated_end_s(container: InputContainer, stream: AudioStream, file: BinaryIO) -> float | None:
    """Return how long an Ogg file says that its sound is, by the granule of its last page; None of anything else.

    The demuxer stops at a damaged page of Vorbis, and calls that the end.
    """
    if container.format.name != "ogg" or len(container.streams) != 1:
        return None
    before, size = file.tell(), file.seek(0, 2)
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read()
    file.seek(before)
    place = tail.rfind(b"OggS")
    while place >= 0:
        if place + _PAGE_HEAD <= len(tail):
            (granule,) = struct.unpack_from("<q", tail, place + 6)
            if granule > 0:
                rate = _OPUS_HZ if stream.codec_context.name in {"opus", "libopus"} else stream.codec_context.sample_rate
                return float(granule / rate - (container.start_time or 0) / av.time_base)
        place = tail.rfind(b"OggS", 0, place)
    return None
