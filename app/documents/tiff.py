"""The pages of a TIFF, decoded by Pillow. In the renderer's process alone."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps, TiffImagePlugin

from app.documents.refusal import DAMAGED, Refused

__all__ = ["TiffPages"]

_MOST_PIXELS = 120_000_000
_MOST_FRAMES = 20_000
_SUBFILE_TYPE = 254
_PIECES = ((273, 279), (324, 325))  # where strips and tiles begin, and how long each is
_SMALLER_COPY = 1
_SQUARE = (0.9, 1.1)  # of resolutions down and across: a fax has half as many lines down
_WIDEST = 4.0  # a ratio beyond this is no scanner's


class TiffPages:
    """An open TIFF.

    Raises:
        Refused: It is damaged.
    """

    def __init__(self, source: Path) -> None:
        warnings.simplefilter("ignore")  # what Pillow has to say of tags is nobody's affair
        Image.MAX_IMAGE_PIXELS = None  # ours is checked before a pixel is decoded
        self._source = source
        try:
            image = Image.open(source, formats=["TIFF"])
        except OSError as error:
            if error.errno is not None:
                raise
            raise Refused(DAMAGED) from error
        except Exception as error:  # Pillow's parser raises whatever Python does at nonsense: SyntaxError, struct.error, KeyError…
            raise Refused(DAMAGED) from error
        assert isinstance(image, TiffImagePlugin.TiffImageFile)  # noqa: S101 - for the type checker: the only format that was allowed
        self._image = image
        self._frames = list(self._listed())
        self.count = len(self._frames)

    def _listed(self) -> Iterator[int]:
        """Yield the frames that are pages: smaller copies of others are none."""
        for frame in range(_MOST_FRAMES):
            try:
                self._image.seek(frame)
            except EOFError:
                return
            except Exception as error:  # as above
                raise Refused(DAMAGED) from error
            if not int(self._image.tag_v2.get(_SUBFILE_TYPE, 0)) & _SMALLER_COPY:
                yield frame

    def check(self) -> None:
        """See that every page may be decoded and lies within the file; none is decoded."""
        size = self._source.stat().st_size
        for page, frame in enumerate(self._frames, 1):
            self._image.seek(frame)
            self._check_size(page)
            if any(begin + length > size for begin, length in self._pieces()):
                raise Refused(_cut(page))

    def _pieces(self) -> Iterator[tuple[int, int]]:
        tags = self._image.tag_v2
        for begins, lengths in _PIECES:
            yield from zip(tags.get(begins, ()), tags.get(lengths, ()), strict=False)

    def _check_size(self, page: int) -> None:
        pixels = self._image.width * self._image.height
        if not 0 < pixels <= _MOST_PIXELS:
            msg = f"Page {page} of the TIFF has {pixels / 1e6:.0f} megapixels; at most {_MOST_PIXELS // 10**6} are taken."
            raise Refused(msg)

    def draw(self, page: int, dpi: int, longest_px: int) -> Image.Image:  # noqa: ARG002 - a scan has the pixels that it has
        """Return a page in RGB on white, upright."""
        try:
            self._image.seek(self._frames[page - 1])
            self._check_size(page)
            decoded = _in_rgb(self._image)
        except Refused:
            raise
        except Exception as error:  # as above; of a page that is cut off, OSError without a number
            raise Refused(_cut(page)) from error
        return _squared(decoded, self._image.info.get("dpi"), longest_px)

    def damaged_pictures(self, page: int) -> int:  # noqa: ARG002 - a page is one picture, and is drawn or refused
        """Return 0."""
        return 0


def _cut(page: int) -> str:
    return f"Page {page} of the TIFF is damaged or cut off. Send an undamaged copy, or choose other pages."


def _in_rgb(image: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        return upright.convert("I").point(lambda value: value / 256).convert("L").convert("RGB")
    if upright.has_transparency_data:
        whole = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
    return upright.convert("RGB")


def _squared(image: Image.Image, resolution: object, longest_px: int) -> Image.Image:
    """Return *image* with square pixels, within *longest_px*."""
    width, height = float(image.width), float(image.height)
    if isinstance(resolution, tuple):
        across, down = (float(one) for one in resolution)
        if across > 0 and down > 0 and 1 / _WIDEST < across / down < _WIDEST and not _SQUARE[0] < across / down < _SQUARE[1]:
            width, height = width * max(1.0, down / across), height * max(1.0, across / down)
    scale = min(1.0, longest_px / max(width, height))
    fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    return image if fitted == image.size else image.resize(fitted, Image.Resampling.LANCZOS, reducing_gap=2.0)
