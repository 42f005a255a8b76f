"""Pictures made for tests: with every kind of samples, and such as are made to do harm; and what reading makes of them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from app.errors import PictureTooLarge, UnreadablePicture
from app.pictures.reading import Limits, check_picture, open_picture

__all__ = ["BLUE", "KINDS", "LIMITS", "RED", "corners", "is_near", "make_bomb", "pixels", "png", "refusal", "saved", "written"]

LIMITS = Limits(max_pixels=120_000_000, max_bytes=50 * 1024**2)
KINDS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
RED, BLUE = (255, 0, 0), (0, 0, 255)

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_header(width_px: int, height_px: int, *, bits: int = 8, colour: int = 2) -> bytes:
    """Return how a PNG begins. Colours: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha."""
    return _SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", width_px, height_px, bits, colour, 0, 0, 0))


def png(width_px: int, rows: Iterable[bytes], *, bits: int = 8, colour: int = 2, transparent: bytes | None = None) -> bytes:
    """Return a PNG of *rows* of samples as the format packs them; *transparent* is its tRNS."""
    lines = list(rows)
    between = _chunk(b"tRNS", transparent) if transparent is not None else b""
    content = _chunk(b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines)))
    return png_header(width_px, len(lines), bits=bits, colour=colour) + between + content + _chunk(b"IEND", b"")


def empty_png(path: Path, width_px: int, height_px: int) -> Path:
    """Write a whole, black RGB PNG of any size; it takes a thousandth of its pixels."""

    def pieces() -> Iterator[bytes]:
        squeeze = zlib.compressobj(1)
        rows = bytes((1 + 3 * width_px) * 100)
        for _ in range(height_px // 100):
            yield squeeze.compress(rows)
        yield squeeze.compress(bytes((1 + 3 * width_px) * (height_px % 100))) + squeeze.flush()

    with path.open("wb") as file:
        file.write(png_header(width_px, height_px))
        for piece in pieces():
            file.write(_chunk(b"IDAT", piece))
        file.write(_chunk(b"IEND", b""))
    return path


def make_bomb(path: Path, which: str) -> Path:
    """Write what is small as a file and would be large in memory."""
    if which == "200 megapixels":
        return empty_png(path, 20_000, 10_000)
    if which == "header":
        return written(path, png_header(100_000, 100_000) + png(1, [b"abc"])[33:])
    if which == "webp":  # a canvas of the largest size, with a frame of one pixel
        frame = io.BytesIO()
        Image.new("RGB", (1, 1)).save(frame, "WEBP", lossless=True)
        canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16_382).to_bytes(3, "little") * 2
        body = b"WEBP" + canvas + frame.getvalue()[12:]
        return written(path, b"RIFF" + struct.pack("<I", len(body)) + body)
    return written(path, _tiff_of_one_tile(40_000))


def _tiff_of_one_tile(side_px: int) -> bytes:
    """Return a TIFF of 8 x 8 pixels whose only tile is much larger, squeezed as zeros are."""
    squeeze = zlib.compressobj(9)
    tile = b"".join(squeeze.compress(bytes(side_px * 100)) for _ in range(side_px // 100)) + squeeze.flush()
    tags = [(256, 8), (257, 8), (258, 8), (259, 8), (262, 1), (277, 1), (322, side_px), (323, side_px), (324, 150), (325, len(tile))]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4)
    return (b"II*\0" + struct.pack("<I", 8) + directory).ljust(150, b"\0") + tile


def saved(path: Path, image: Image.Image, kind: str, **options: object) -> Path:
    """Write *image* and return where."""
    image.save(path, kind, **options)
    return path


def pixels(path: Path) -> npt.NDArray[np.uint8]:
    """Return what reading makes of *path*, and hold it to its facts."""
    facts = check_picture(path, LIMITS)
    image = open_picture(path, LIMITS)
    assert image.mode == "RGB"
    assert image.size == (facts.width_px, facts.height_px)
    return np.asarray(image)


def written(path: Path, content: bytes) -> Path:
    """Write *content* and return where."""
    path.write_bytes(content)
    return path


def corners(width_px: int = 48, height_px: int = 32) -> Image.Image:
    """Red, with its upper left quarter blue."""
    image = Image.new("RGB", (width_px, height_px), RED)
    image.paste(BLUE, (0, 0, width_px // 2, height_px // 2))
    return image


def is_near(found: npt.NDArray[np.uint8], colour: tuple[int, int, int]) -> bool:
    """Return whether a lossy picture has this colour."""
    return bool(np.abs(found.astype(int) - colour).max() <= 6)


def refusal(path: Path, limits: Limits = LIMITS) -> str:
    """Return the code with which both doors refuse *path*."""
    codes = set()
    for read in (check_picture, open_picture):
        with pytest.raises((UnreadablePicture, PictureTooLarge)) as refused:
            read(path, limits)
        codes.add(refused.value.code)
        assert str(path) not in refused.value.message
    (code,) = codes
    return str(code)
