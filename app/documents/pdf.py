"""The pages of a PDF, drawn by PDFium. In the renderer's process alone."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pypdfium2
from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

from app.documents.refusal import DAMAGED, Refused

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["PdfPages"]

_POINTS_PER_INCH = 72
_NEEDS_PASSWORD = 4  # FPDF_ERR_PASSWORD
_FOREIGN_SECURITY = 5  # FPDF_ERR_SECURITY
_TAIL_BYTES = 16 * 1024  # behind a whole file's end there may be what mailers and web servers put there
_PADDING = b"\0\t\n\f\r "
_MOST_PICTURES = 100  # of a page that are looked at for damage: some programs cut one into thousands
_JPEG, _JPEG_ENDS = "DCTDecode", b"\xff\xd9"


class PdfPages:
    """An open PDF.

    Raises:
        Refused: It is encrypted, cut off or damaged.
    """

    def __init__(self, source: Path) -> None:
        # PDFium opens what is cut off too, by looking for objects: pages would be missing without a word.
        if not _has_end(source):
            msg = "The PDF is cut off: its end is missing, as after a broken transfer. Send the whole file."
            raise Refused(msg)
        try:
            self._document = pypdfium2.PdfDocument(source)
        except pypdfium2.PdfiumError as error:
            raise Refused(_why(error)) from error
        self.count = len(self._document)
        self._document.init_forms()  # what is filled into a form is drawn too

    def check(self) -> None:
        """See that every page is there; none is drawn."""
        for index in range(self.count):
            try:
                self._document.get_page_size(index)
            except pypdfium2.PdfiumError as error:
                raise Refused(_damaged(index + 1)) from error

    def draw(self, page: int, dpi: int, longest_px: int) -> Image.Image:
        """Return a page in RGB on white."""
        try:
            found = self._document[page - 1]
            width, height = found.get_size()
            longest = max(width, height)
            if not math.isfinite(longest) or min(width, height) <= 0:
                raise Refused(_damaged(page))
            # A box may claim to be kilometres wide: what is drawn is bounded by its result, whatever it claims.
            scale = min(dpi / _POINTS_PER_INCH, (longest_px - 1) / longest)  # pypdfium2 rounds up
            drawn: Image.Image = found.render(scale=scale).to_pil()
        except pypdfium2.PdfiumError as error:
            raise Refused(_damaged(page)) from error
        return drawn.convert("RGB")

    def damaged_pictures(self, page: int) -> int:
        """Return how many pictures of a page are not drawn, or in part: PDFium leaves them out without a word.

        Seen are those that cannot be decoded at all, and JPEGs without their end.
        """
        pictures = itertools.islice(self._document[page - 1].get_objects(filter=[FPDF_PAGEOBJ_IMAGE]), _MOST_PICTURES)
        return sum(_is_damaged(picture) for picture in pictures)


def _is_damaged(picture: Any) -> bool:  # noqa: ANN401 - pypdfium2 has a type of its own for each kind of object
    try:
        picture.get_bitmap()
        if picture.get_filters()[-1:] != [_JPEG]:
            return False
        return not bytes(picture.get_data(decode_simple=True)).rstrip(_PADDING).endswith(_JPEG_ENDS)
    except pypdfium2.PdfiumError:
        return True


def _has_end(source: Path) -> bool:
    size = source.stat().st_size
    with source.open("rb") as file:
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
        if tail.strip(_PADDING) or size <= _TAIL_BYTES:
            return b"%%EOF" in tail or b"startxref" in tail
        return True  # padded with more than a tail of nothing: PDFium looks further


def _why(error: pypdfium2.PdfiumError) -> str:
    if error.err_code == _NEEDS_PASSWORD:
        return "The PDF is encrypted and opens with a password alone. Save a copy without one and send that."
    if error.err_code == _FOREIGN_SECURITY:
        return "The PDF is encrypted in a way that cannot be read. Save a copy without encryption and send that."
    return DAMAGED


def _damaged(page: int) -> str:
    return f"Page {page} of the PDF is missing or damaged. Send an undamaged copy, or choose other pages."
