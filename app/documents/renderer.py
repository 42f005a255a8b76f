"""The process that draws pages: ``python -m app.documents.renderer SECONDS probe|render FILE …``.

Started by :mod:`app.documents.rendering`. A process of its own, because what a stranger's file does to a renderer in C
cannot be bounded from within: it may crash, loop or take all memory. It knows
one file, writes one file, and says one JSON object on standard output.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from app.apart.child import serve
from app.documents.blank import is_blank
from app.documents.kinds import kind_of
from app.documents.pdf import PdfPages
from app.documents.refusal import Refused
from app.documents.tiff import TiffPages

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["probe", "render"]

_NARROWEST = 50  # a picture's longer side is at most so many times the shorter one: the eyes of models refuse strips
_WRITTEN_BYTES = 64 * 1024**2  # a PNG of noise with our longest side has 12 MB


class Pages(Protocol):
    """An open document."""

    count: int

    def check(self) -> None:
        """See that every page is there.

        Raises:
            Refused: One is not.
        """
        ...

    def draw(self, page: int, dpi: int, longest_px: int) -> Image.Image:
        """Return page *page*, counted from 1, in RGB, within *longest_px*.

        Raises:
            Refused: It is damaged.
        """
        ...

    def damaged_pictures(self, page: int) -> int:
        """Return how many pictures on a page are missing or incomplete as it is drawn."""
        ...


def _open(source: Path) -> Pages:
    if source.stat().st_size == 0:
        msg = "The file is empty."
        raise Refused(msg)
    kind = kind_of(source)
    if kind is None:
        msg = "The file is no document: it begins neither like a PDF nor like a TIFF."
        raise Refused(msg)
    pages: Pages = PdfPages(source) if kind == "pdf" else TiffPages(source)
    if not pages.count:
        msg = "The document has no pages."
        raise Refused(msg)
    return pages


def probe(source: Path) -> dict[str, Any]:
    """Return what *source* is.

    Raises:
        Refused: It cannot be used.
        OSError: It cannot be read.
    """
    pages = _open(source)
    pages.check()
    return {"kind": kind_of(source), "pages": pages.count}


def render(source: Path, page: int, target: Path, dpi: int, longest_px: int) -> dict[str, Any]:
    """Draw one page of *source* into *target*.

    Raises:
        Refused: It cannot be used.
        OSError: *source* cannot be read, or *target* cannot be written.
    """
    pages = _open(source)
    if not 1 <= page <= pages.count:
        msg = f"There is no page {page}: the document has {pages.count}."
        raise Refused(msg)
    picture = _widened(pages.draw(page, dpi, longest_px))
    with target.open("wb") as file:
        picture.save(file, "PNG", compress_level=1)
    return {
        "width_px": picture.width,
        "height_px": picture.height,
        "blank": is_blank(picture),
        "damaged_pictures": pages.damaged_pictures(page),
    }


def _widened(picture: Image.Image) -> Image.Image:
    """Return *picture*, a strip with white beside it."""
    from PIL import Image

    least = -(-max(picture.size) // _NARROWEST)
    if min(picture.size) >= least:
        return picture
    canvas = Image.new("RGB", (max(picture.width, least), max(picture.height, least)), "white")
    canvas.paste(picture, (0, 0))
    return canvas


def _answer(words: Sequence[str]) -> dict[str, Any]:
    match words:
        case ["probe", source]:
            return probe(Path(source))
        case ["render", source, page, target, dpi, longest_px]:
            return render(Path(source), int(page), Path(target), int(dpi), int(longest_px))
        case _:
            raise ValueError(words)


if __name__ == "__main__":
    serve(sys.argv[1:], _answer, what="document", written_bytes=_WRITTEN_BYTES)
