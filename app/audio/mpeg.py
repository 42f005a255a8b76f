"""How long a frame of mp3 or of aac (ADTS) is, read from its first bytes. Pure; no sound is decoded.

Tables are those of ISO 11172-3, 13818-3 and 14496-3; what mp3 encoders put
into their first frame is Xing's, as LAME writes it.
"""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

__all__ = ["adts_frame_bytes", "mp3_frame_bytes", "stated_mp3_bytes"]

_KBPS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_KBPS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_RATES_HZ = (44_100, 48_000, 32_000, 0)
_LAYER_3 = 1
_MPEG_1 = 3
_MPEG_RESERVED = 1
_MONO = 3
_TAG_BYTES = 16  # as much as is read of it: name, flags, frames, bytes
_BYTES_FIELD = 2
_FRAMES_FIELD = 1


class _Header(NamedTuple):
    frame_bytes: int
    mpeg_1: bool
    mono: bool


def mp3_frame_bytes(head: bytes) -> int:
    """Return how long the mp3 frame is that *head* begins with; 0 where none begins there or it does not say."""
    header = _header(head)
    return header.frame_bytes if header else 0


def adts_frame_bytes(head: bytes) -> int:
    """Return how long the ADTS frame is that *head* begins with; 0 where none begins there."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:  # noqa: PLR2004 - the syncword
        return 0
    return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5


def stated_mp3_bytes(file: BinaryIO, start: int) -> int | None:
    """Return how many bytes the frames of an mp3 have together, if the first one says so (``Xing`` or ``Info``)."""
    file.seek(start)
    frame = file.read(256)
    header = _header(frame)
    if header is None:
        return None
    side_info_bytes = (17 if header.mono else 32) if header.mpeg_1 else (9 if header.mono else 17)
    tag = frame[4 + side_info_bytes :]
    if len(tag) < _TAG_BYTES or tag[:4] not in (b"Xing", b"Info") or not tag[7] & _BYTES_FIELD:
        return None
    at = 12 if tag[7] & _FRAMES_FIELD else 8
    return int.from_bytes(tag[at : at + 4], "big") or None


def _header(head: bytes) -> _Header | None:
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:  # noqa: PLR2004 - the syncword
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    mpeg_1 = version == _MPEG_1
    kbps = (_KBPS_1 if mpeg_1 else _KBPS_2)[head[2] >> 4]
    rate_hz = _RATES_HZ[head[2] >> 2 & 3]
    if version == _MPEG_RESERVED or layer != _LAYER_3 or not kbps or not rate_hz:
        return None
    rate_hz = rate_hz if mpeg_1 else rate_hz // 2 if version else rate_hz // 4
    padding = head[2] >> 1 & 1
    return _Header((144 if mpeg_1 else 72) * kbps * 1000 // rate_hz + padding, mpeg_1, head[3] >> 6 == _MONO)
