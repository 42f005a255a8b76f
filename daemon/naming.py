"""What files are called: results, the archive's copies, what is ours. Pure but for the file system's limit on a name.

Names are compared as the pickiest file system would, without regard to case
and to how letters are composed: what is told apart here can be told apart
wherever the folder is synchronised to.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import secrets
import unicodedata
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "ARCHIVE",
    "CORRECTED",
    "FAILED",
    "FOLDER_SETTINGS",
    "HOT_WORDS",
    "PENDING_WORDS",
    "RAW",
    "SRT",
    "SUFFIXES",
    "VTT",
    "archive_names",
    "fitted",
    "folded",
    "in_archive",
    "longest_name_bytes",
    "new_part",
    "part_of",
    "shown",
    "stems",
]

ARCHIVE = "done"
HOT_WORDS = "dict.txt"
PENDING_WORDS = "dict_pending.txt"
FOLDER_SETTINGS = ".transcribe.toml"

RAW, CORRECTED, FAILED = "_raw.md", "_corrected.md", "_failed.md"
SRT, VTT = "_raw.srt", "_raw.vtt"
SUFFIXES = (RAW, CORRECTED, FAILED, SRT, VTT)
"""What follows a result's stem."""

_LONGEST_SUFFIX_BYTES = max(len(suffix) for suffix in SUFFIXES)
_PART = re.compile(r"\.mlx-local-(?P<home>[0-9a-f]{8})-[0-9a-f]{8}\.part")


def folded(name: str) -> str:
    """Return *name* as it is compared: two names that fold to one may be one file somewhere."""
    return unicodedata.normalize("NFC", name).casefold()


def shown(path: Path | str) -> str:
    """Return a path as text that can be logged and written; bytes that are no UTF-8 become a replacement character."""
    return os.fsencode(path).decode("utf-8", "replace")


def longest_name_bytes(folder: Path) -> int:
    """Return how long a name may be in *folder*."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError):
        return 255


def stems(name: str, limit_bytes: int) -> Iterator[str]:
    """Yield what the results of a recording may begin with, in order: ``a``, ``a.mp3``, ``a.mp3 (2)`` and so on for ever."""
    yield fitted(Path(name).stem, _LONGEST_SUFFIX_BYTES, limit_bytes)
    yield fitted(name, _LONGEST_SUFFIX_BYTES, limit_bytes)
    for number in itertools.count(2):
        yield fitted(f"{name} ({number})", _LONGEST_SUFFIX_BYTES, limit_bytes)


def archive_names(name: str, limit_bytes: int) -> Iterator[str]:
    """Yield what a recording may be called in the archive: ``a.wav``, ``a (2).wav`` and so on."""
    yield name
    whole = Path(name)
    for number in itertools.count(2):
        ending = f" ({number}){whole.suffix}"
        yield fitted(whole.stem, len(os.fsencode(ending)), limit_bytes) + ending


def fitted(stem: str, more_bytes: int, limit_bytes: int) -> str:
    """Return *stem*, shortened so that *more_bytes* fit behind it; a hash of all of it keeps two long names apart."""
    encoded = os.fsencode(stem)
    if len(encoded) + more_bytes <= limit_bytes:
        return stem
    ending = "~" + hashlib.sha256(encoded).hexdigest()[:8]
    kept = encoded[: limit_bytes - more_bytes - len(ending)]
    while kept and (encoded[len(kept)] & 0xC0) == 0x80:  # noqa: PLR2004 - the middle of a character in UTF-8
        kept = kept[:-1]
    return os.fsdecode(kept) + ending


def in_archive(relative: Path) -> bool:
    """Return whether a path, seen from its watched folder, is that of the archive or in it."""
    return bool(relative.parts) and folded(relative.parts[0]) == ARCHIVE


def new_part(folder: Path, home_mark: str) -> Path:
    """Return a name for a file that is being written in *folder*."""
    return folder / f".mlx-local-{home_mark}-{secrets.token_hex(4)}.part"


def part_of(name: str) -> str | None:
    """Return the mark of the home that was writing a file of this name; None: it is no such file."""
    found = _PART.fullmatch(name)
    return found["home"] if found else None
