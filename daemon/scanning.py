"""What lies in a watched folder: the truth that events only hint at.

Taken for recordings are regular files with a recording's extension. Never
taken: what begins with a dot, the archive, other watched folders inside this
one, and symbolic links, whose targets are either here themselves or none of
our business.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from daemon.naming import FAILED, FOLDER_SETTINGS, in_archive, part_of
from daemon.signature import Signature

__all__ = ["Scan", "scan"]


@dataclass(slots=True)
class Scan:
    """What was found at one look."""

    recordings: dict[Path, Signature] = field(default_factory=dict)
    parts: list[Path] = field(default_factory=list)  # files that some daemon was writing
    settings: list[Path] = field(default_factory=list)
    failed_marks: list[Path] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)  # folders, and why


def scan(root: Path, extensions: Collection[str], others: Collection[Path]) -> Scan:
    """Look at all of *root*.

    Args:
        root: The watched folder.
        extensions: Of recordings, lower case, without a dot.
        others: Watched folders too; they are looked at by themselves.

    Raises:
        OSError: *root* itself cannot be read.
    """
    found = Scan()
    _look(root, root, extensions, others, found)
    return found


def _look(root: Path, folder: Path, extensions: Collection[str], others: Collection[Path], found: Scan) -> None:
    try:
        with os.scandir(folder) as entries:
            inside = list(entries)
    except FileNotFoundError:
        if folder == root:
            raise
        return
    except OSError as error:
        if folder == root:
            raise
        found.unreadable[folder] = error.strerror or str(error)
        return
    for entry in inside:
        try:
            _sort_in(root, entry, extensions, others, found)
        except FileNotFoundError:  # gone since
            continue
        except OSError as error:  # a folder that tells names alone: what is there is not gone
            found.unreadable[folder] = error.strerror or str(error)


def _sort_in(root: Path, entry: os.DirEntry[str], extensions: Collection[str], others: Collection[Path], found: Scan) -> None:
    path = Path(entry.path)
    if entry.name.startswith("."):
        if part_of(entry.name):
            found.parts.append(path)
        elif entry.name == FOLDER_SETTINGS:
            found.settings.append(path)
    elif entry.is_dir(follow_symlinks=False):
        if not in_archive(path.relative_to(root)) and path not in others:
            _look(root, path, extensions, others, found)
    elif entry.name.endswith(FAILED):
        found.failed_marks.append(path)
    elif path.suffix[1:].lower() in extensions and entry.is_file(follow_symlinks=False):
        stat = entry.stat(follow_symlinks=False)
        found.recordings[path] = Signature(stat.st_size, stat.st_mtime_ns)
