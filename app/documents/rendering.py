"""A document's pages as pictures, or why not. The work is done by a child (:mod:`app.documents.renderer`), one page at a time.

Promises: memory does not grow with the number of pages, and is bounded whatever
a page says of its size; nothing is left at the target when rendering fails; a
file that crashes, hangs or bloats the renderer costs the child and nobody else;
the child has nothing of our environment but what Python needs, and ends with
the process that started it; what is told to users are sentences without paths.

Does not read the text that a PDF may have beside its picture.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from app.documents.kinds import DocumentKind
from app.errors import UnreadableDocument

__all__ = ["DPI", "LONGEST_SIDE_PX", "Probed", "Rendered", "RenderingStopped", "page_count", "probe", "render"]

DPI = 200
"""Small print of 6 points is 17 pixels high at it."""

LONGEST_SIDE_PX = 2000
"""Of an A4 page this makes 2.8 megapixels, to which PaddleOCR-VL scales whatever is larger: more would be drawn for nothing."""

_LOOK_EVERY_S = 0.05
_MOST_BYTES = 1536 * 1024**2  # the child's memory: a picture of 120 megapixels in a page is half a gigabyte when it is scaled
_PATIENCE_S = 60.0
_ENVIRONMENT = (
    *("PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ"),
)


class RenderingStopped(Exception):
    """The caller's ``should_stop`` said so."""


class Probed(NamedTuple):
    """What a document is."""

    kind: DocumentKind
    pages: int


class Rendered(NamedTuple):
    """A page that is a picture now."""

    width_px: int
    height_px: int
    blank: bool  # nothing is on it: it has one colour


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
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _never() -> bool:
    return False


def _run(words: list[str], should_stop: Callable[[], bool], patience_s: float) -> dict[str, Any]:
    """Run the child and return its result; whatever happens, it is gone afterwards."""
    command = [sys.executable, "-P", "-m", "app.documents.renderer", f"{patience_s:.0f}", *words]
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # Standard input stays open and silent: its end tells the child that this process has died.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, process_group=0) as child:
        try:
            ended_by = _watch(child, should_stop, patience_s)
            assert child.stdout  # noqa: S101 - for the type checker: it is a pipe
            said: dict[str, Any] = json.loads(child.stdout.read() or "{}")
        finally:
            child.kill()
    if "result" in said:
        result: dict[str, Any] = said["result"]
        return result
    if "refused" in said:
        raise UnreadableDocument(said["refused"])
    if "errno" in said:
        raise OSError(said["errno"], os.strerror(said["errno"]))
    if ended_by < 0:
        msg = "The renderer fails at this document; it is probably damaged. Print it into a new PDF and send that."
        raise UnreadableDocument(msg)
    msg = f"the renderer ended with {ended_by} and no word"
    raise RuntimeError(msg)


def _watch(child: subprocess.Popen[bytes], should_stop: Callable[[], bool], patience_s: float) -> int:
    """Return how *child* ended; watch it meanwhile: the caller's wish, its memory, and its time. What it says fits its pipe."""
    watched = psutil.Process(child.pid)
    begun_s = time.monotonic()
    while True:
        try:
            return child.wait(_LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            pass
        if should_stop():
            raise RenderingStopped
        if _memory_bytes(watched) > _MOST_BYTES:
            msg = "The renderer takes absurdly much memory for this document; it is probably damaged or made to do harm."
            raise UnreadableDocument(msg)
        if time.monotonic() - begun_s > patience_s:
            msg = f"The renderer was not done with this document within {patience_s:.0f} s; it is probably damaged or made to do harm."
            raise UnreadableDocument(msg)


def _memory_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0  # it has just ended
