"""A secret of the home in a file of its own: drawn once, there whole or not at all, and readable by its user alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["drawn_secret", "read_secret", "replace_secret"]


def drawn_secret(path: Path, draw: Callable[[], str]) -> str:
    """Return what the file has, drawn now if there is none. Several processes may ask at once: they get the same one.

    Raises:
        OSError: The folder cannot be read or written.
    """
    found = read_secret(path)
    if found:
        return found
    with _written(path, draw()) as written:
        if found is None:
            with suppress(FileExistsError):
                path.hardlink_to(written)  # not a replacement: another process may be the first
        else:
            written.replace(path)  # an empty file, of a disk that was full
    return read_secret(path) or ""


def replace_secret(path: Path, text: str) -> None:
    """Put *text* in the place of what the file has; :class:`OSError` where that cannot be done."""
    with _written(path, text) as written:
        written.replace(path)


def read_secret(path: Path) -> str | None:
    """Return what the file has; None where there is none yet. :class:`OSError` where it cannot be read."""
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        return None


@contextmanager
def _written(path: Path, text: str) -> Iterator[Path]:
    """Have *text* on the disk, beside *path*, until the block ends."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    written = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        yield written
    finally:
        written.unlink(missing_ok=True)
