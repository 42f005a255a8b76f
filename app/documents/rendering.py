"""A document's pages as pictures, or why not. The work is done by a child (:mod:`app.documents.renderer`), one page at a time.

Promises: memory does not grow with the number of pages, and is bounded whatever
a page says of its size; nothing is left at the target when rendering fails; a
file that crashes, hangs or bloats the renderer costs the child and nobody else;
the child has nothing of our environment but what Python needs, and ends with
the process that started it; what is told to users are sentences without paths.

Does not read the text that a PDF may have beside its picture.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from app.apart.watching import Stopped, Trade, Unusable, run_apart
from app.documents.kinds import DocumentKind
from app.errors import UnreadableDocument

__all__ = ["DPI", "LONGEST_SIDE_PX", "Probed", "Rendered", "RenderingStopped", "page_count", "probe", "render"]

DPI = 200
"""Small print of 6 points is 17 pixels high at it."""

LONGEST_SIDE_PX = 2000
"""Of an A4 page this makes 2.8 megapixels, to which PaddleOCR-VL scales whatever is larger: more would be drawn for nothing."""

_PATIENCE_S = 60.0
_RENDERER = Trade(
    module="app.documents.renderer",
    who="renderer",
    what="document",
    advice="Print it into a new PDF and send that.",
    most_bytes=1536 * 1024**2,  # a picture of 120 megapixels in a page is half a gigabyte when it is scaled
)

RenderingStopped = Stopped


class Probed(NamedTuple):
    """What a document is."""

    kind: DocumentKind
    pages: int


class Rendered(NamedTuple):
    """A page that is a picture now."""

    width_px: int
    height_px: int
    blank: bool  # nothing is on it: it has one colour
    damaged_pictures: int = 0  # that are missing on it, or incomplete, as far as that can be seen


def probe(source: Path, *, patience_s: float = _PATIENCE_S) -> Probed:
    """Return what *source* is and how many pages it has, each of which is there; none is drawn. Takes a fraction of a second.

    Raises:
        UnreadableDocument: It is no PDF or TIFF, is encrypted, damaged or cut off, or has no pages.
        OSError: *source* cannot be read.
    """
    return Probed(**_run(["probe", str(source)], _never, patience_s))


def page_count(source: Path) -> int:
    """Return how many pages *source* has; otherwise as :func:`probe`."""
    return probe(source).pages


def render(
    source: Path,
    page: int,
    target: Path,
    *,
    dpi: int = DPI,
    should_stop: Callable[[], bool] = lambda: False,
    patience_s: float = _PATIENCE_S,
) -> Rendered:
    """Draw page *page*, counted from 1, into *target* as a PNG of 8-bit RGB.

    Args:
        source: A PDF or a TIFF, whatever its name.
        page: Of a TIFF, pictures that say they are a smaller copy of another one are not counted.
        target: Is written anew, and removed when this raises.
        dpi: Pixels an inch of paper, fewer where the longer side would have more than :data:`LONGEST_SIDE_PX`.
        should_stop: Asked about 20 times a second.
        patience_s: A page that takes longer is refused.

    Raises:
        UnreadableDocument: The document or the page cannot be used.
        RenderingStopped: *should_stop* said so.
        OSError: *source* cannot be read, or *target* cannot be written, as when the disk is full.
    """
    try:
        words = ["render", str(source), str(page), str(target), str(dpi), str(LONGEST_SIDE_PX)]
        return Rendered(**_run(words, should_stop, patience_s))
    except BaseException:  # whatever it was, half a picture must not stay
        target.unlink(missing_ok=True)
        raise


def _never() -> bool:
    return False


def _run(words: list[str], should_stop: Callable[[], bool], patience_s: float) -> dict[str, Any]:
    try:
        return run_apart(_RENDERER, words, should_stop=should_stop, patience_s=patience_s)
    except Unusable as reason:
        raise UnreadableDocument(str(reason)) from None
