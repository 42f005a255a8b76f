"""What a file is, by its first bytes. Its name is not asked. Proves nothing: who opens it finds out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["DocumentKind", "kind_of"]

DocumentKind = Literal["pdf", "tiff"]

_HEAD_BYTES = 1024  # within which readers of PDF look for its header
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the later two are BigTIFF's


def kind_of(source: Path) -> DocumentKind | None:
    """Return which kind of document *source* is; None: none, perhaps a picture.

    Raises:
        OSError: It cannot be read.
    """
    with source.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if b"%PDF-" in head:
        return "pdf"
    return "tiff" if head.startswith(_TIFF) else None
