"""Read a picture from a file: its facts for the API, its pixels for the worker.

Promises: what :func:`check_picture` accepts, :func:`open_picture` opens, since
both read the file to its end in the same way. The format is told by the
content, never by a name. The header comes first, and a picture that it states
too large is refused before anything of its size is in memory. Pixels come out
as RGB of 8 bits, upright: rotated as EXIF says, transparency laid onto white,
the high byte of 16-bit samples, the first frame of an animation. Samples
wider than that (of science and surveying) have no known range and are
stretched from their least to their greatest.

Colour profiles are not applied. Takes seconds for a picture of the largest
size: the API calls it in a thread.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from app.errors import PictureTooLarge, UnreadablePicture

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

__all__ = ["Limits", "PictureFacts", "check_picture", "moves", "open_picture"]

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_KNOWN = "PNG, JPEG, WebP, GIF, BMP and TIFF"
_MOST_SCANS = 100  # of a JPEG; encoders make about ten, and each may cost as much as the whole picture
_FLAT = 1e-30  # a range of samples so narrow shows nothing
_MOST_TILE_PIXELS = 4096 * 4096
_ORIENTATION, _TILE_WIDTH, _TILE_HEIGHT = 0x0112, 0x0142, 0x0143  # tags of EXIF and TIFF
_NARROW_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
_WIDE_MODES = frozenset({"I", "F"})


class Limits(NamedTuple):
    """What a picture may have at most."""

    max_pixels: int
    max_bytes: int


class PictureFacts(NamedTuple):
    """A picture that was read to its end."""

    format: str  # one of PNG JPEG WEBP GIF BMP TIFF
    width_px: int  # as it is seen, upright
    height_px: int


def check_picture(path: Path, limits: Limits) -> PictureFacts:
    """Read all of the picture at *path* and return its facts.

    Raises:
        UnreadablePicture: It is no picture that is read here, or damaged, or not whole.
        PictureTooLarge: It has more bytes or pixels than *limits* allow.
        OSError: *path* cannot be read.
    """
    with _opened(path, limits) as image:
        width_px, height_px = image.size
        if _kind(image) == "JPEG":
            # All of the file is read, and an eighth of its lines and columns is kept: less memory, the same errors.
            image.draft(image.mode, (1, 1))
        image.load()
        if _kind(image) == "TIFF":  # whose pixels Pillow itself turns upright
            width_px, height_px = image.size
        elif _orientation(image) >= 5:  # noqa: PLR2004 - those that lie on their side
            width_px, height_px = height_px, width_px
        return PictureFacts(_kind(image), width_px, height_px)


def open_picture(path: Path, limits: Limits) -> Image:
    """Return the picture at *path* as RGB, 8 bits, upright.

    Raises:
        UnreadablePicture: It is no picture that is read here, or damaged, or not whole.
        PictureTooLarge: It has more bytes or pixels than *limits* allow.
        OSError: *path* cannot be read.
    """
    with _opened(path, limits) as image:
        _mend_transparency(image)
        image.load()
        orientation = _orientation(image)
    return _upright(_as_rgb(image), orientation)


def moves(path: Path, limits: Limits) -> bool:
    """Return whether the picture at *path* is an animation, of which the first frame alone is read; otherwise as :func:`open_picture`."""
    with _opened(path, limits) as image:
        return _kind(image) != "JPEG" and bool(getattr(image, "is_animated", False))


@contextmanager
def _opened(path: Path, limits: Limits) -> Iterator[ImageFile]:
    """Give the picture with its header read and judged; what goes wrong with its content is an UnreadablePicture."""
    from PIL import Image, UnidentifiedImageError

    with path.open("rb") as file:
        size_bytes = path.stat().st_size
        if size_bytes > limits.max_bytes:
            msg = f"The picture has {size_bytes} bytes; this server takes at most {limits.max_bytes} (MLX_LOCAL_MAX_PICTURE)."
            raise PictureTooLarge(msg)
        # Pillow's own limit, for those of its parsers that take memory before we can look: it refuses above twice as much.
        # It is one for the whole process, so it only ever rises.
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, limits.max_pixels)
        try:
            with Image.open(file, formats=_FORMATS) as image:
                _judge(image, file, limits)
                yield image
        except (PictureTooLarge, UnreadablePicture):
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            msg = f"The picture has more than the {limits.max_pixels} pixels that this server takes (MLX_LOCAL_MAX_PICTURE_PIXELS)."
            raise PictureTooLarge(msg) from None
        except UnidentifiedImageError:
            msg = f"This is no picture that can be read, or it is damaged. Known are {_KNOWN}."
            raise UnreadablePicture(msg) from None
        except Exception as error:
            # Pillow's parsers raise whatever they stumble over: OSError, SyntaxError, ValueError, struct.error, and more.
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk, not of the picture
            msg = f"The picture is damaged or not whole. Known are {_KNOWN}."
            raise UnreadablePicture(msg) from error


def _kind(image: ImageFile) -> str:
    """Return the format; a JPEG with more pictures behind the first is a JPEG."""
    return "JPEG" if image.format == "MPO" else str(image.format)


def _judge(image: ImageFile, file: BinaryIO, limits: Limits) -> None:
    """Refuse what would cost too much memory or time, by what the header says."""
    width, height = image.size
    if width * height > limits.max_pixels:
        limit = f"at most {limits.max_pixels} in all (MLX_LOCAL_MAX_PICTURE_PIXELS)"
        msg = f"The picture has {width} x {height} pixels; this server takes {limit}."
        raise PictureTooLarge(msg)
    if image.mode not in _NARROW_MODES | _WIDE_MODES and not image.mode.startswith("I;16"):
        msg = "The picture's colours are of a kind that is not read here. Convert it to RGB."
        raise UnreadablePicture(msg)
    if _kind(image) == "JPEG":
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            scans = sum(1 for _ in re.finditer(rb"\xff\xda", content))
        if scans > _MOST_SCANS:
            msg = "The JPEG is made of absurdly many scans; it is probably made to do harm. Save it anew."
            raise UnreadablePicture(msg)
    if image.format == "TIFF":
        tile_pixels = _tag(image, _TILE_WIDTH) * _tag(image, _TILE_HEIGHT)
        if tile_pixels > max(_MOST_TILE_PIXELS, width * height):
            msg = "The TIFF has tiles larger than itself; it is probably made to do harm. Save it anew."
            raise UnreadablePicture(msg)


def _tag(image: ImageFile, number: int) -> int:
    """Return a number among a TIFF's tags; 0 where there is none."""
    tags: dict[int, object] = getattr(image, "tag_v2", {})
    value = tags.get(number, 0)
    return value if isinstance(value, int) else 0


def _orientation(image: ImageFile) -> int:
    """Return how the picture lies: 1 to 8, as EXIF counts; 1, upright, also where EXIF is damaged."""
    import struct

    try:
        value = image.getexif().get(_ORIENTATION)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1  # noqa: PLR2004 - as EXIF counts


def _upright(image: Image, orientation: int) -> Image:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _mend_transparency(image: ImageFile) -> None:
    """Bring the transparent colour of a PNG to 8 bits, as its samples will be. Pillow leaves it as it is in the file."""
    colour = image.info.get("transparency")
    if _kind(image) != "PNG" or not image.tile or colour is None or isinstance(colour, bytes):
        return
    raw_mode = str(image.tile[0].args)
    if raw_mode in ("L;2", "L;4"):
        image.info["transparency"] = colour * (85 if raw_mode == "L;2" else 17)
    elif raw_mode.endswith(";16B"):
        image.info["transparency"] = tuple(sample >> 8 for sample in colour) if isinstance(colour, tuple) else colour >> 8


def _as_rgb(image: Image) -> Image:
    """Return *image* as RGB, an image of its own."""
    from PIL import Image as Images

    transparency = image.info.get("transparency")
    if image.mode.startswith("I;16") or image.mode in _WIDE_MODES:
        image = _narrow(image)
        if transparency is not None:
            image.info["transparency"] = transparency
    if not image.has_transparency_data:
        return image.convert("RGB") if image.mode != "RGB" else image.copy()
    with_alpha = image.convert("RGBA")
    onto = Images.new("RGB", image.size, "white")
    onto.paste(with_alpha, mask=with_alpha.getchannel("A"))
    return onto


def _narrow(image: Image) -> Image:
    """Return grey of more than 8 bits as grey of 8."""
    import numpy as np
    from PIL import Image as Images

    samples = np.asarray(image)
    if image.mode not in _WIDE_MODES:
        return Images.fromarray((samples >> 8).astype(np.uint8))
    samples = samples.astype(np.float32)
    finite = np.isfinite(samples)
    least = float(np.min(samples, where=finite, initial=np.inf))
    greatest = float(np.max(samples, where=finite, initial=-np.inf))
    if not greatest - least > _FLAT:
        return Images.new("L", image.size)
    scale = 255.0 / (greatest - least)
    whole = np.nan_to_num(samples, nan=least, posinf=greatest, neginf=least)
    return Images.fromarray(np.rint(np.clip(whole * scale - least * scale, 0, 255)).astype(np.uint8))
