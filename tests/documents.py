"""PDFs and TIFFs of a test's own, written by hand, whole and broken."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageStat

__all__ = ["BROKEN", "ENCRYPTED", "bar_of", "barred", "pdf", "scanned", "tiff"]

_UNIT = 20  # points
_A4 = (0, 0, 595, 842)


def pdf(
    texts: Sequence[str], *, box: Sequence[float] = _A4, content: str | Sequence[str] | None = None, more: str = "", trailer: str = ""
) -> bytes:
    """Return a PDF with a page for each text, in Helvetica of 24 points; an empty text is an empty page.

    Args:
        texts: Of the pages.
        box: Every page's MediaBox.
        content: Operators instead of the text, of all pages or of each.
        more: Of every page's dictionary.
        trailer: Of the trailer's dictionary.
    """
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(texts)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(texts)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(texts):
        drawn = f"BT /F1 24 Tf 72 {box[3] - 100} Td ({text}) Tj ET" if text else ""
        if content is not None:
            drawn = content if isinstance(content, str) else content[number]
        stream = zlib.compress(drawn.encode())
        page = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [{' '.join(map(str, box))}] /Contents {5 + 2 * number} 0 R"
            f" /Resources << /Font << /F1 3 0 R >> >> {more} >>"
        )
        objects += [page.encode(), b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(stream), stream)]
    out = io.BytesIO(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    out.seek(0, 2)
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%b\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + b"".join(b"%010d 00000 n \n" % at for at in offsets))
    out.write(f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF\n".encode())
    return out.getvalue()


def barred(lengths: Sequence[int]) -> bytes:
    """Return a PDF with a black bar on each page; :func:`bar_of` reads its length, from 0 to 40, of the page's picture."""
    return pdf(["x"] * len(lengths), content=[f"0 0 595 {_UNIT * length} re f" if length else "" for length in lengths])


def bar_of(picture: Path) -> int:
    """Return the length of the bar on a page's picture."""
    with Image.open(picture) as image:
        dark = image.convert("L").point(lambda shade: 255 * (shade < 128))
        return round(ImageStat.Stat(dark).mean[0] / 255 * _A4[3] / _UNIT)


def scanned(frames: Sequence[Image.Image], *, broken: bytes = b"") -> bytes:
    """Return a PDF with a JPEG on each page; of the last one, the last *broken* bytes in it are zeros."""
    out = io.BytesIO()
    frames[0].save(out, "PDF", save_all=True, append_images=frames[1:])
    before, found, behind = out.getvalue().rpartition(broken) if broken else (out.getvalue(), b"", b"")
    return before + bytes(len(found)) + behind


def tiff(frames: Sequence[Image.Image], **words: object) -> bytes:
    """Return a TIFF of several pages."""
    out = io.BytesIO()
    frames[0].save(out, "TIFF", save_all=True, append_images=frames[1:], **words)
    return out.getvalue()


def _bare_tiff(width: int, height: int, strip_bytes: int) -> bytes:
    """Return a TIFF of one bit a pixel that has no more than 8 bytes of them."""
    tags = {256: width, 257: height, 258: 1, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: strip_bytes}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 16) + bytes(8) + struct.pack("<H", len(tags)) + entries + bytes(4)


ENCRYPTED = pdf(
    ["secret"],
    trailer=f"/ID [<00><00>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <{'5a' * 32}> /U <{'a5' * 32}> >>",
)
"""A PDF whose password nobody knows."""

_WHOLE = pdf(["one", "two"])
_PAGES = tiff([Image.new("L", (64, 64), 40 * n) for n in range(1, 4)])
BROKEN = {
    "empty": b"",
    "text": b"These are words.",
    "header-alone": b"%PDF-1.7\n",
    "cut-off": _WHOLE[: len(_WHOLE) * 2 // 3],
    "encrypted": ENCRYPTED,
    "without-pages": pdf([]),
    "nonsense-with-an-end": b"%PDF-1.4\n" + b"nonsense " * 400 + b"\nstartxref\n9\n%%EOF\n",
    "page-that-is-not-there": _WHOLE.replace(b"6 0 obj", b"9 0 obj").replace(b"%010d" % _WHOLE.index(b"6 0 obj"), b"0000000000"),
    "tiff-header-alone": b"II*\0\x08\0\0\0",
    "tiff-cut-off": _PAGES[:-40],
    "tiff-whose-directory-is-nowhere": b"MM\0*\xff\xff\xff\xf0" + bytes(64),
    "tiff-of-ten-gigapixels": _bare_tiff(100_000, 100_000, 8),
    "tiff-with-less-than-it-says": _bare_tiff(800, 800, 80_000),
}
"""What is no document, by what is wrong with it."""
