"""Putting files where users see them: whole or not at all, and never over something else.

A file is written under a name that begins with a dot and that we know again,
brought to the disk, and then renamed. What a crash leaves is swept.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from types import EllipsisType

from daemon.naming import ARCHIVE, archive_names, folded, longest_name_bytes, new_part, part_of
from daemon.signature import Changed, Signature, content_hash, signature_of

__all__ = ["archive_place", "move", "sweep", "was_copied", "write_whole"]

_FOREIGN_PART_S = 24 * 3600.0


def write_whole(path: Path, content: bytes, home_mark: str, *, still: Signature | EllipsisType | None = ...) -> bool:
    """Make *path* a file with this content.

    Args:
        path: Replaced where it exists.
        content: All of it.
        home_mark: Of this home.
        still: What has to lie at *path* until the very end, None for nothing; unset: whatever.

    Returns:
        Whether it was written.

    Raises:
        OSError: It cannot be written; nothing is left of it.
    """
    part = new_part(path.parent, home_mark)
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if still is not ... and signature_of(path) != still:
            return False
        part.replace(path)
        return True
    finally:
        part.unlink(missing_ok=True)


def archive_place(root: Path, recording: Path) -> Path:
    """Return a free place in the archive for a recording; its folder is made.

    Raises:
        OSError: The folder cannot be made or read.
    """
    folder = root / ARCHIVE / recording.parent.relative_to(root)
    folder.mkdir(parents=True, exist_ok=True)
    taken = {folded(entry.name) for entry in folder.iterdir()}
    return next(folder / name for name in archive_names(recording.name, longest_name_bytes(folder)) if folded(name) not in taken)


def move(source: Path, target: Path, signature: Signature, home_mark: str) -> None:
    """Move a recording into its free place; also to another disk.

    Raises:
        Changed: What lay at *source* was not the file of that *signature*; it lies there again.
        OSError: It cannot be moved.
    """
    try:
        source.rename(target)
    except FileNotFoundError:
        if signature_of(source) is None:
            raise Changed from None
        raise
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_over(source, target, signature, home_mark)
        return
    if signature_of(target) == signature:
        return
    places = (source.with_name(name) for name in archive_names(source.name, longest_name_bytes(source.parent)))
    target.rename(next(place for place in places if not place.exists()))
    raise Changed


def _copy_over(source: Path, target: Path, signature: Signature, home_mark: str) -> None:
    part = new_part(target.parent, home_mark)
    try:
        shutil.copy2(source, part, follow_symlinks=False)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        if signature_of(source) != signature:
            raise Changed
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    source.unlink()


def was_copied(source: Path, target: Path, signature: Signature, sha256: str) -> bool:
    """Finish a move to another disk that a kill broke off once the copy was whole; return whether there was such a copy.

    Raises:
        Changed: What lies at *source* is not the file of that *signature*; it lies there still.
        OSError: One of them cannot be read or removed.
    """
    there = signature_of(target)
    if there is None or there.size != signature.size or content_hash(target, there) != sha256 or source.samefile(target):
        return False
    if signature_of(source) != signature:
        raise Changed
    source.unlink()
    return True


def sweep(parts: Iterable[Path], home_mark: str) -> None:
    """Remove what a crash left half written: ours at once, another home's when it is a day old."""
    for part in parts:
        try:
            if part_of(part.name) == home_mark or part.stat().st_mtime < time.time() - _FOREIGN_PART_S:
                part.unlink()
        except OSError:  # gone, or not ours to remove: it is in nobody's way
            continue
