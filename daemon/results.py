"""Which results a recording has on disk, and under which name: found out from the files, which outlive every memory.

Each result says in its front matter which file it came from, the hash of its
content, and the identity of what was asked. Results of other recordings, and
files that somebody else wrote, are never replaced; nor is a result that was
edited since.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from daemon.front_matter import read_head
from daemon.naming import CORRECTED, FAILED, RAW, SUFFIXES, folded, longest_name_bytes, shown, stems

__all__ = ["Place", "find_place", "is_mark_of_nobody", "untouched"]

_PLAIN_STEMS = 2  # a and a.mp3; what follows is numbered, without gaps


@dataclass(frozen=True, slots=True)
class Place:
    """Where the results of a recording are, or are to be."""

    folder: Path
    stem: str

    def path(self, suffix: str) -> Path:
        """Return the file with this suffix."""
        return self.folder / (self.stem + suffix)

    def identity(self, suffix: str) -> str | None:
        """Return of which transcript the file with this suffix is; None: it is not there, or not ours."""
        head = read_head(self.path(suffix))
        return head.get("identity") if head else None

    def complete(self, identity: str, *, corrects: bool) -> bool:
        """Return whether the pair of *identity* is here."""
        wanted = (RAW, CORRECTED) if corrects else (RAW,)
        return all(self.identity(suffix) == identity for suffix in wanted)

    def failed(self, identity: str) -> bool:
        """Return whether a mark says that *identity* failed."""
        return self.identity(FAILED) == identity


def find_place(recording: Path, sha256: str, identity: str, wrote: Callable[[Path, str], bool]) -> Place:
    """Return the place that has results of this very recording, else the first free one.

    Args:
        recording: Its path.
        sha256: Of its content.
        identity: Of the transcript that is wanted.
        wrote: Tells whether content of some hash was written into a file by us.

    Raises:
        OSError: The folder, or a result in it, cannot be read.
    """
    folder = recording.parent
    there = {folded(entry.name) for entry in folder.iterdir()}
    free: Place | None = None
    for number, stem in enumerate(stems(recording.name, longest_name_bytes(folder))):
        place = Place(folder, stem)
        taken = [suffix for suffix in SUFFIXES if folded(stem + suffix) in there]
        if taken and _is_of(place, taken, recording, sha256, identity, wrote):
            return place
        if not taken:
            free = free or place
            if number >= _PLAIN_STEMS:
                break
    assert free is not None  # noqa: S101 - for the type checker: the loop ends at a free one alone
    return free


def _is_of(place: Place, taken: list[str], recording: Path, sha256: str, identity: str, wrote: Callable[[Path, str], bool]) -> bool:
    heads = {suffix: head for suffix in taken if (head := read_head(place.path(suffix))) is not None}
    ours = {suffix: head for suffix, head in heads.items() if _same_name(head.get("source", ""), recording)}
    texts = {suffix for suffix in taken if suffix.endswith(".md")}
    if not ours or ours.keys() != texts:
        return False
    if ours.keys() == {FAILED}:  # of what lay here before under this name, if not of this content
        return True
    if any(head.get("sha256") != sha256 for suffix, head in ours.items() if suffix != FAILED):
        return False
    others = {suffix for suffix, head in ours.items() if head.get("identity") != identity}
    if others:  # subtitles have no head: they are of the same transcript as the texts beside them
        others |= set(taken) - texts
    return all(untouched(place.path(suffix), wrote) for suffix in others)


def untouched(path: Path, wrote: Callable[[Path, str], bool]) -> bool:
    """Return whether a file is as we wrote it."""
    return path.is_file() and wrote(path, hashlib.sha256(path.read_bytes()).hexdigest())


def _same_name(source: str, recording: Path) -> bool:
    return unicodedata.normalize("NFC", Path(source).name) == unicodedata.normalize("NFC", shown(recording.name))


def is_mark_of_nobody(mark: Path) -> bool:
    """Return whether *mark* is one that we wrote about a recording that is not beside it any more."""
    head = read_head(mark)
    if head is None or head.get("result") != "failed" or "identity" not in head:
        return False
    source = Path(head.get("source", "")).name
    beside = {unicodedata.normalize("NFC", shown(entry.name)) for entry in mark.parent.iterdir()}
    return bool(source) and unicodedata.normalize("NFC", source) not in beside
