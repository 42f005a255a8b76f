"""The process that takes frames out of a video: ``python -m app.pictures.video_decoder SECONDS take FILE TARGET LONGEST_S``.

Started by :mod:`app.pictures.video`. It reads the file twice: first where its
frames stand, without decoding one, since no header is trusted to tell; then it
decodes all of them, since most are made from those before, and keeps the few
that are wanted. Lists of containers and codecs are short on purpose: ffmpeg
knows hundreds, among them playlists that name other files and hosts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from app.apart.child import Refused, serve
from app.pictures.frames import write_frames

__all__ = ["FRAMES_PER_S", "LEAST_FRAMES", "MOST_FRAMES", "chosen", "take"]

FRAMES_PER_S = 2.0
LEAST_FRAMES = 4
MOST_FRAMES = 768
"""What mlx-vlm's loader takes where nobody says otherwise (mlx_vlm.utils.DEFAULT_VIDEO_SAMPLING)."""

_PAIR = 2  # models look at two frames at once
_MOST_PIXELS = 25_165_824  # of all frames together: the models' own preprocessors scale what has more down to that
_MOST_FRAME_PIXELS = 1024 * 1024  # of one: two of them are what a model sees in one slice
_LARGEST_PIXELS = 4096 * 2304  # of the video itself
_MOST_PACKETS = 500_000
_THREADS = 4
_WRITTEN_BYTES = 256 * 1024**2
_LOST_SHARE = 0.1  # of the frames that may be damaged: as players do, the rest is shown
_MISSING_S = 1.0  # between the length that a container states and what is in it
_CONTAINERS = "mov,matroska"
_CODECS = "h264,hevc,vp8,vp9,libdav1d,av1,mpeg4,mjpeg,prores"
_KNOWN = "mp4, mov, mkv and webm, with H.264, HEVC, VP8, VP9, AV1, MPEG-4, ProRes or motion JPEG"
_DAMAGED = "The video is damaged: its frames cannot be decoded. Send an undamaged copy."


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


class _Timeline(NamedTuple):
    """Where the frames of a video stand."""

    stamps: list[int]  # of each frame, rising, in the stream's time base
    second: float  # stamps in one
    length_s: float


def take(source: Path, target: Path, longest_s: float) -> dict[str, Any]:
    """Write the frames that stand for the video.

    Raises:
        Refused: It cannot be used.
        OSError: *source* cannot be read, or *target* cannot be written.
    """
    if source.stat().st_size == 0:
        msg = "The file is empty."
        raise Refused(msg)
    with _opened(source) as (container, stream):
        timeline = _timeline(container, stream, longest_s)
    wanted = [timeline.stamps[index] for index in chosen(len(timeline.stamps), timeline.length_s)]
    with _opened(source) as (container, stream):
        frames = write_frames(target, _taken(container, stream, timeline, wanted))
    return frames._asdict()


@contextmanager
def _opened(source: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Give the video's container and its stream of pictures; what ffmpeg finds wrong meanwhile is damage."""
    lists = {"format_whitelist": _CONTAINERS, "codec_whitelist": f"{_CODECS},aac,mp3,opus,vorbis,pcm_s16le", "protocol_whitelist": ""}
    with source.open("rb") as file:
        try:
            container = av.open(_Source(file), "r", container_options=lists | {"enable_drefs": "0"}, metadata_errors="replace")
        except av.FFmpegError as error:
            msg = f"This is no video that can be read, or it is damaged. Known are {_KNOWN}."
            raise Refused(msg) from error
        with container:
            try:
                yield container, _choose(container)
            except av.FFmpegError as error:
                raise Refused(_DAMAGED) from error


def _choose(container: InputContainer) -> VideoStream:
    streams = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    if not streams:
        msg = "The file has no pictures that move: no video track is in it."
        raise Refused(msg)
    stream = next((one for one in streams if one.disposition & Disposition.default), streams[0])
    # PyAV's types say that there is always a context; without a decoder there is none.
    context: Any = stream.codec_context
    if context is None or context.name not in _CODECS.split(","):
        msg = f"The video is compressed in a way that is not read here, or encrypted. Known are {_KNOWN}."
        raise Refused(msg)
    _check_size(context.width, context.height)
    context.thread_count = _THREADS
    context.options = {"max_pixels": str(_LARGEST_PIXELS)}
    return stream


def _check_size(width: int, height: int) -> None:
    if not 0 < width * height <= _LARGEST_PIXELS:
        msg = f"The video has {width} x {height} pixels; at most {_LARGEST_PIXELS} (4K) can be read. Send a smaller version."
        raise Refused(msg)


def _timeline(container: InputContainer, stream: VideoStream, longest_s: float) -> _Timeline:
    """Find where the frames stand, and see that the end is there and not too far."""
    stamps: list[int] = []
    end_s = 0.0
    for count, packet in enumerate(container.demux()):
        if count > _MOST_PACKETS:
            msg = "The video has absurdly many frames; it is probably made to do harm."
            raise Refused(msg)
        stamp = packet.pts if packet.pts is not None else packet.dts
        if packet.size and stamp is not None and packet.time_base is not None and not packet.is_discard:
            end_s = max(end_s, float((stamp + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index == stream.index:
                stamps.append(stamp)
    if not stamps or not stream.time_base:
        msg = "The video has no frames."
        raise Refused(msg)
    stamps.sort()
    second = float(1 / stream.time_base)
    length_s = (stamps[-1] - stamps[0]) / second * (len(stamps) / max(1, len(stamps) - 1))  # the last one is seen for a while too
    if length_s > longest_s:
        msg = f"The video is longer than the {longest_s:g} seconds that are taken (MLX_LOCAL_MAX_VIDEO_LENGTH). Cut it."
        raise Refused(msg)
    begun_s = (container.start_time or 0) / av.time_base
    if container.duration and container.duration / av.time_base - (end_s - min(0.0, begun_s)) > _MISSING_S:
        msg = "The video is cut off: its end is missing, as after a broken transfer. Send the whole file."
        raise Refused(msg)
    return _Timeline(stamps, second, length_s)


def chosen(count: int, length_s: float) -> list[int]:
    """Return which of *count* frames over *length_s* stand for the video, as mlx-vlm's loader chooses; of one, that one."""
    most = min(MOST_FRAMES, count) // _PAIR * _PAIR
    asked = min(max(length_s * FRAMES_PER_S, LEAST_FRAMES), most)
    return [int(index) for index in np.linspace(0, count - 1, max(1, int(asked // _PAIR * _PAIR))).round()]


def _taken(
    container: InputContainer, stream: VideoStream, timeline: _Timeline, wanted: Sequence[int]
) -> Iterator[tuple[float, Image.Image]]:
    """Yield the frames at the *wanted* stamps with their times: of what is damaged, the next that is not.

    Raises:
        Refused: Too much is damaged.
    """
    size: tuple[int, int] | None = None
    waiting = list(wanted)
    whole = 0
    for frame in _decoded(container, stream):
        whole += not frame.is_corrupt
        while waiting and frame.pts is not None and frame.pts >= waiting[0]:
            image = _upright(frame)
            size = size or _fitting(image.size, len(wanted))
            yield (waiting.pop(0) - timeline.stamps[0]) / timeline.second, image.resize(size, Image.Resampling.BICUBIC)
    if not whole or len(timeline.stamps) - whole > 1 + _LOST_SHARE * len(timeline.stamps):
        raise Refused(_DAMAGED)


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Yield what can be decoded."""
    for packet in container.demux(stream):
        try:
            frames = stream.codec_context.decode(packet)
        except av.FFmpegError:
            continue
        for frame in frames:
            _check_size(frame.width, frame.height)
            yield frame


def _upright(frame: VideoFrame) -> Image.Image:
    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    return image.rotate(frame.rotation, expand=True) if frame.rotation % 360 else image


def _fitting(size: tuple[int, int], frames: int) -> tuple[int, int]:
    """Return the size of each of so many frames: *size*, or less of the same shape."""
    most = min(_MOST_FRAME_PIXELS, _MOST_PIXELS / frames)
    scale = min(1.0, (most / (size[0] * size[1])) ** 0.5)
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def _answer(words: Sequence[str]) -> dict[str, Any]:
    match words:
        case ["take", source, target, longest_s]:
            return take(Path(source), Path(target), float(longest_s))
        case _:
            raise ValueError(words)


if __name__ == "__main__":
    serve(sys.argv[1:], _answer, what="video", written_bytes=_WRITTEN_BYTES, threads=_THREADS)
