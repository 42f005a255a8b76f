"""``dict.txt``, the words that are likely to be said, and ``dict_pending.txt``, the words that a model was unsure of.

Both belong to the user and lie in the watched folder. The first is only read.
To the second, words are added at its end, each once and none that ``dict.txt``
has; what somebody wrote there stays.
"""

from __future__ import annotations

import codecs
import errno
import stat
from collections.abc import Iterable
from pathlib import Path

from daemon.naming import HOT_WORDS, PENDING_WORDS
from daemon.signature import signature_of
from daemon.writing import write_whole

__all__ = ["MOST_WORDS", "gather", "hot_words"]

MOST_WORDS = 10_000  # that a request may carry
_LONGEST_CHARACTERS = 200
_TRIES = 5


def hot_words(root: Path) -> list[str]:
    """Return the words of ``dict.txt``: one a line, ``#`` begins a comment; no more than a request may carry.

    Raises:
        OSError: It is there and cannot be read.
    """
    text = _read(root / HOT_WORDS).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    words = dict.fromkeys(line[:_LONGEST_CHARACTERS] for line in lines if line)
    return list(words)[:MOST_WORDS]


def gather(root: Path, words: Iterable[str], home_mark: str) -> None:
    """Add to ``dict_pending.txt`` what neither file has.

    An editor that saves at the same moment wins: the words are then added to what it wrote.

    Raises:
        OSError: It cannot be written.
    """
    path = root / PENDING_WORDS
    for _ in range(_TRIES):
        before = signature_of(path)
        text = _read(path)
        known = {line.strip() for line in text.splitlines()} | set(hot_words(root))
        new = [word for word in dict.fromkeys(" ".join(word.split()) for word in words) if word and word not in known]
        if not new:
            return
        gap = "" if not text or text.endswith("\n") else "\n"
        content = (text + gap + "".join(f"{word}\n" for word in new)).encode("utf-8", "surrogateescape")
        if write_whole(path, content, home_mark, still=before):
            return
    raise OSError(errno.EBUSY, "somebody else writes it all the time", str(path))


def _read(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would never be read to its end
            return ""
        content = path.read_bytes()
    except FileNotFoundError:
        return ""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as some editors of Windows save
        return content.decode("utf-16", "replace")
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
