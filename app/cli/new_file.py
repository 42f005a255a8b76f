"""Writing what a command made into a file of the user's: whole or not at all, and never over another one unasked."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from app.cli.terminal import USAGE, CommandError

__all__ = ["check_writable", "new_file"]


def check_writable(target: Path, *, force: bool) -> None:
    """See, before anything is made, that *target* can be written.

    Raises:
        CommandError: It exists and *force* does not allow to replace it, it is no file, or its folder takes no files.
    """
    if target.exists() and not target.is_file():  # a pipe or a device would be replaced, not written to
        msg = f"{target} is {'a folder' if target.is_dir() else 'no regular file'}."
        raise CommandError(msg, USAGE)
    if target.exists() and not force:
        msg = f"{target} exists; --force replaces it."
        raise CommandError(msg, USAGE)
    if not os.access(target.parent, os.W_OK | os.X_OK):
        msg = f"The folder {target.parent} does not exist, or takes no files of yours."
        raise CommandError(msg, USAGE)


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[IO[bytes]]:
    """Open a file that becomes *target* when the block succeeds, and is gone when it does not.

    Raises:
        CommandError: It cannot be written.
    """
    part = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        try:
            with part.open("xb") as file:
                yield file
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        msg = f"{target} cannot be written: {error.strerror or error}."
        raise CommandError(msg) from None
