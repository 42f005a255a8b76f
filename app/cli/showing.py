"""Files of the user's as the pictures of a chat."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from app.cli.terminal import USAGE, CommandError

__all__ = ["SUFFIXES", "picture_part"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""By which pictures are found in a folder; a file that is named may have any."""


def picture_part(file: Path) -> dict[str, Any]:
    """Return the part of a message that shows *file*. The server finds out what it is.

    Raises:
        CommandError: It cannot be read.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        msg = f"{file} cannot be read: {error.strerror or error}."
        raise CommandError(msg, USAGE) from None
    return {"type": "image_url", "image_url": {"url": f"data:;base64,{base64.b64encode(content).decode()}"}}
