"""A small file that is read again when it has changed, so that processes that run need not be told. Looking costs one ``stat``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

__all__ = ["WatchedFile"]

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """What a file says, now.

    Whoever changes it puts a new file in its place, which has another inode:
    a time stamp alone may be the same after two changes.

    Args:
        path: Of the file.
        parse: Returns what a content says. It gets None where there is no file, and nothing of one that cannot be read.
    """

    def __init__(self, path: Path, parse: Callable[[str | None], T]) -> None:
        self._path = path
        self._parse = parse
        self._seen: tuple[int, int, int] | None = None
        self._said = parse(None)

    def read(self) -> T:
        """Return what the file says."""
        try:
            found = self._path.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            seen = None
        except OSError:
            seen = (0, 0, 0)
        if seen != self._seen:
            self._said = self._parse(self._text() if seen else None)
            self._seen = seen
        return self._said

    def _text(self) -> str:
        try:
            return self._path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return ""
