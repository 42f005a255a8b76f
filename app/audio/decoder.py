"""The process that decodes: ``python -m app.audio.decoder decode|probe FILE …``. Started by :mod:`app.audio.decoding`.

A process of its own, because what a stranger's file does to a decoder in C
cannot be bounded from within: it may crash, loop or take all memory. It
knows one file, writes one file, and says one JSON object a line on standard
output: how far it is, and at last what came of it. Nothing of the file is in
memory but what is being decoded.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from app.audio.completeness import after_id3, ends_early, is_partial_frame
from app.audio.containers import Refused, describe, open_sound
from app.audio.mixing import Mixer
from app.audio.pcm import BYTES_PER_S, RATE_HZ
from app.audio.timeline import Timeline, stated_end_s

__all__ = ["decode", "probe"]

_CUT = "The recording is cut off: its end is missing, as after a broken transfer. Send the whole file."
_DAMAGED = "The recording is damaged: its sound cannot be decoded. Send an undamaged copy."
_TELL_EVERY_S = 0.2
_LOST_S = 1.0  # of sound in damaged places that is let pass: junk before, between and behind the frames of real mp3 files
_STATED_SLACK_S = 0.1  # between what flac says of its length and what came
_HEAD_BYTES = 16
_JUDGED_BY_FRAMES = ("mp3", "aac")  # containers that are nothing but frames
_OWN_LENGTH = ("wav",)  # ends_early knows, and a length left at all ones makes ffmpeg call the last packet short


class _Progress:
    """Says on standard output how far it is, at most a few times a second."""

    def __init__(self) -> None:
        self._told_at_s = 0.0

    def tell(self, done_s: float, read_bytes: int) -> None:
        now_s = time.monotonic()
        if now_s - self._told_at_s >= _TELL_EVERY_S:
            self._told_at_s = now_s
            _say({"done_s": done_s, "read_bytes": read_bytes})


class _Last(NamedTuple):
    head: bytes
    size_bytes: int
    short: bool  # the container promised more


class _Frames:
    """The frames of a track in order, and what is known of those that are missing."""

    def __init__(self, container: InputContainer, stream: AudioStream) -> None:
        self._container = container
        self._stream = stream
        self.lost_s = 0.0
        self._came = (0, 0.0)  # bytes and seconds of packets that were decoded
        self._last: _Last | None = None
        self._last_failed = False

    def __iter__(self) -> Iterator[AudioFrame]:
        for packet in self._packets():
            if packet.size:
                self._last = _Last(bytes(memoryview(packet)[:_HEAD_BYTES]), packet.size, packet.is_corrupt)
            try:
                frames = self._stream.codec_context.decode(packet)
            except av.FFmpegError:
                self._last_failed = True
                self.lost_s += self._length_s(packet)
                continue
            if packet.size:
                self._last_failed = False
                self._came = (self._came[0] + packet.size, self._came[1] + self._stated_s(packet))
            yield from frames

    def _packets(self) -> Iterator[Packet[AudioStream]]:
        """Yield packets up to the end, or to where the container itself is damaged: then the rest is lost."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                raise Refused(_DAMAGED) from error
            if packet is None:
                return
            yield packet

    def _stated_s(self, packet: Packet[AudioStream]) -> float:
        base = packet.time_base or 0
        return max(0.0, float((packet.duration or 0) * base))

    def _length_s(self, packet: Packet[AudioStream]) -> float:
        """Return how much sound is lost with *packet*: of a hole among frames it is one, however many are in it."""
        stated_s, (came_bytes, came_s) = self._stated_s(packet), self._came
        if self._container.format.name not in _JUDGED_BY_FRAMES or not came_bytes:
            return stated_s
        return max(stated_s, packet.size * came_s / came_bytes)

    def skipped_s(self, size_bytes: int) -> float:
        """Return how much sound the demuxer of ADTS passed over without a word, in a file of *size_bytes*; 0 of any other."""
        came_bytes, came_s = self._came
        if self._container.format.name != "aac" or not came_bytes:
            return 0.0
        return max(0, size_bytes - came_bytes) * came_s / came_bytes - self.lost_s

    @property
    def end_is_missing(self) -> bool:
        """Whether the last packet is the beginning of a longer one."""
        if self._last is None:
            return False
        name = self._container.format.name
        if name in _JUDGED_BY_FRAMES:
            return is_partial_frame(self._stream.codec_context.name, self._last.head, self._last.size_bytes)
        return name not in _OWN_LENGTH and (self._last.short or self._last_failed)


def probe(source: Path) -> dict[str, Any]:
    """Return what *source* says of itself.

    Raises:
        Refused: It cannot be used.
    """
    with source.open("rb") as file:
        container, stream = _open(file)
        with container:
            return describe(container, stream)._asdict()


def decode(source: Path, target: Path, longest_s: float) -> dict[str, Any]:
    """Decode the sound of *source* into the pcm file *target*.

    Raises:
        Refused: It cannot be used, or not all of it.
        OSError: *target* cannot be written.
    """
    with source.open("rb") as file:
        container, stream = _open(file)
        with container:
            facts = describe(container, stream)
            frames, timeline = _Frames(container, stream), Timeline(container)
            with target.open("wb") as output:
                written = _write(frames, timeline, file, output, longest_s)
            done_s = written / BYTES_PER_S
            stated_s = facts.duration_s if facts.container == "flac" else None
            end_s = stated_end_s(container, stream, file)
            frames.lost_s += timeline.lost_s + (max(0.0, end_s - done_s) if end_s is not None else 0.0)
            frames.lost_s += max(0.0, frames.skipped_s(source.stat().st_size - after_id3(file)))
            _judge(frames, done_s, stated_s)
            return facts._asdict() | {"duration_s": done_s}


def _open(file: BinaryIO) -> tuple[InputContainer, AudioStream]:
    if file.seek(0, 2) == 0:
        msg = "The file is empty."
        raise Refused(msg)
    if ends_early(file):
        raise Refused(_CUT)
    file.seek(0)
    return open_sound(file)


def _write(frames: _Frames, timeline: Timeline, file: BinaryIO, output: BinaryIO, longest_s: float) -> int:
    """Write all sound, with silence where the container has none, and return how many bytes that is.

    Never more than *longest_s*, whatever the file unfolds to.
    """
    progress, mixer, written = _Progress(), Mixer(), 0

    def write(pieces: Iterator[Any]) -> None:
        nonlocal written
        for piece in pieces:
            written += piece.nbytes
            if written > longest_s * BYTES_PER_S:
                msg = f"The recording is longer than the {longest_s / 60:.0f} minutes that are taken. Cut it into parts."
                raise Refused(msg)
            output.write(piece.tobytes())

    for frame in frames:
        if gap_s := timeline.gap_s(frame):
            write(mixer.finish())
            write(_silence(min(gap_s, longest_s + 1)))
        write(mixer.feed(frame))
        progress.tell(written / BYTES_PER_S, file.tell())
    write(mixer.finish())
    return written


def _silence(seconds: float) -> Iterator[np.ndarray[Any, np.dtype[np.int16]]]:
    left = round(seconds * RATE_HZ)
    while left > 0:
        piece = min(left, RATE_HZ)
        left -= piece
        yield np.zeros(piece, np.int16)


def _judge(frames: _Frames, done_s: float, stated_s: float | None) -> None:
    """Refuse a recording of which too much did not come out."""
    if frames.lost_s > _LOST_S:
        msg = f"The recording is damaged: {frames.lost_s:.1f} s of its sound cannot be decoded. Send an undamaged copy."
        raise Refused(msg)
    if frames.end_is_missing:
        raise Refused(_CUT)
    if stated_s is not None and stated_s - done_s > _STATED_SLACK_S:
        msg = f"The recording is damaged or cut off: {stated_s - done_s:.1f} s of its sound are missing. Send an undamaged copy."
        raise Refused(msg)
    if done_s * RATE_HZ < 1:
        msg = "The file holds no sound: no sample could be decoded from its audio track."
        raise Refused(msg)


def _say(said: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Do what :mod:`app.audio.decoding` asks."""
    try:
        match arguments:
            case ["probe", source]:
                _say({"result": probe(Path(source))})
            case ["decode", source, target, longest_s]:
                _say({"result": decode(Path(source), Path(target), float(longest_s))})
            case _:
                return 2
    except Refused as reason:
        _say({"refused": str(reason)})
    except av.FFmpegError:  # some of these are OSErrors too
        _say({"refused": _DAMAGED})
    except OSError as error:
        _say({"errno": error.errno or 0})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
