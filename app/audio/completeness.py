"""Whether a recording was cut off, by what its container says of its own length. Never decodes anything.

Decoders read a file that ends too early without a word, and the user would
lose the end of a transcript. So lengths in headers are compared with the file;
they are read, never allocated.

Not noticed: a cut exactly between two pages of ogg, two boxes of a fragmented
mp4, or two frames of an mp3 or aac whose beginning tells no length. What
streaming writers leave in headers (0, all ones) says nothing and is no cut,
and whatever lies behind the end that a header tells is ignored.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from typing import BinaryIO

from app.audio.mpeg import adts_frame_bytes, mp3_frame_bytes, stated_mp3_bytes

__all__ = ["after_id3", "ends_early", "is_partial_frame"]

_UNKNOWN_RIFF_BYTES = 0x7FFF_F000  # from here on it is what writers put who could not go back: sox, ffmpeg, OpenAI
_MOST_ELEMENTS = 4_000_000  # of a file; more is none that anybody recorded
_OGG_HEADER_BYTES = 27
_OGG_PAGE_BYTES = _OGG_HEADER_BYTES + 255 + 255 * 255
_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"uuid", b"meta", b"mfra", b"sidx", b"styp", b"udta"})
_SEGMENT = 0x18538067
_CLUSTER = 0x1F43B675


def ends_early(file: BinaryIO) -> bool:
    """Return whether *file* tells of more bytes than it has. Where its container is not known here: False."""
    size = file.seek(0, os.SEEK_END)
    start = after_id3(file)
    file.seek(start)
    head = file.read(12)
    if head[4:8] in _BOXES:
        return _mp4_ends_early(file, size)
    for magic, check in _CHECKS.items():
        if head.startswith(magic):
            return check(file, size)
    stated = stated_mp3_bytes(file, start)
    return stated is not None and start + stated > size


def is_partial_frame(codec: str, head: bytes, size_bytes: int) -> bool:
    """Return whether the last packet of a stream without a container is the beginning of a longer frame.

    Args:
        codec: ffmpeg's name.
        head: How the packet begins.
        size_bytes: How long it is.
    """
    if codec.startswith("mp3"):
        return mp3_frame_bytes(head) > size_bytes
    return codec == "aac" and adts_frame_bytes(head) > size_bytes


def after_id3(file: BinaryIO) -> int:
    """Return where the sound's own bytes begin: behind the ID3v2 tags."""
    at = 0
    while True:
        file.seek(at)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3":  # noqa: PLR2004 - a tag's header
            return at
        at += 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _chunks_end_early(file: BinaryIO, size: int, sound: bytes, order: str) -> bool:
    """Walk the chunks of RIFF or AIFF up to the one that holds the sound."""
    at, stated_64 = 12, 0
    for _ in range(_MOST_ELEMENTS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:  # noqa: PLR2004 - a chunk's header
            return True
        name, length = head[:4], int(struct.unpack(f"{order}I", head[4:])[0])
        if name == b"ds64":
            stated_64 = int.from_bytes(file.read(16)[8:], "little")
        if name == sound:
            if stated_64 and length == 0xFFFF_FFFF:  # noqa: PLR2004 - RF64's way to say that ds64 has it
                return at + 8 + stated_64 > size
            return 0 < length < _UNKNOWN_RIFF_BYTES and at + 8 + length > size
        at += 8 + length + length % 2
    return True


def _wav_ends_early(file: BinaryIO, size: int) -> bool:
    return _form(file) == b"WAVE" and _chunks_end_early(file, size, b"data", "<")


def _aiff_ends_early(file: BinaryIO, size: int) -> bool:
    return _form(file) in (b"AIFF", b"AIFC") and _chunks_end_early(file, size, b"SSND", ">")


def _form(file: BinaryIO) -> bytes:
    file.seek(8)
    return file.read(4)


def _mp4_ends_early(file: BinaryIO, size: int) -> bool:
    at = 0
    for _ in range(_MOST_ELEMENTS):
        file.seek(at)
        head = file.read(16)
        if head[4:8] not in _BOXES:
            return False  # the end, or what somebody put behind it
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # noqa: PLR2004 - a box's header; 0 means to the end of the file
            return False
        at += length
        if at > size:
            return True
    return True


def _ogg_ends_early(file: BinaryIO, size: int) -> bool:
    """Look at the last page alone."""
    file.seek(max(0, size - _OGG_PAGE_BYTES))
    tail = file.read(_OGG_PAGE_BYTES)
    at = len(tail)
    while (at := tail.rfind(b"OggS", 0, at)) >= 0:
        page = tail[at:]
        if len(page) < _OGG_HEADER_BYTES:
            return True
        if page[4] == 0 and page[5] < 8:  # noqa: PLR2004 - version and flags; else these four bytes are sound
            sizes = page[_OGG_HEADER_BYTES : _OGG_HEADER_BYTES + page[26]]
            return len(sizes) < page[26] or _OGG_HEADER_BYTES + len(sizes) + sum(sizes) > len(page)
    return False


def _matroska_ends_early(file: BinaryIO, size: int) -> bool:
    """Walk the elements; those whose length is known are stepped over, the others into."""
    at = 0
    for _ in range(_MOST_ELEMENTS):
        file.seek(at)
        head = file.read(12)
        if not head:
            return False
        id_bytes = 9 - head[0].bit_length()
        length_bytes = 9 - head[id_bytes].bit_length() if len(head) > id_bytes else 9
        if id_bytes > 4 or length_bytes > 8 or len(head) < id_bytes + length_bytes:  # noqa: PLR2004 - EBML's longest
            return size - at < 12  # noqa: PLR2004 - the header itself is cut; else it is no element, so something behind the end
        element = int.from_bytes(head[:id_bytes], "big")
        mask = (1 << 7 * length_bytes) - 1
        length = int.from_bytes(head[id_bytes : id_bytes + length_bytes], "big") & mask
        at += id_bytes + length_bytes
        if length == mask and element in (_SEGMENT, _CLUSTER):
            continue
        at += length
        if at > size or element == _SEGMENT:
            return at > size
    return True


_CHECKS: Mapping[bytes, Callable[[BinaryIO, int], bool]] = {
    b"RIFF": _wav_ends_early,
    b"RF64": _wav_ends_early,
    b"BW64": _wav_ends_early,
    b"FORM": _aiff_ends_early,
    b"OggS": _ogg_ends_early,
    b"\x1a\x45\xdf\xa3": _matroska_ends_early,
}
