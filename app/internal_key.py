"""The home's own key: what its daemon and command line carry, so that they work without a setting once keys are required.

``internal.key`` is made by whoever needs it first, whole or not at all, and is
readable by its user alone. Who can read it can read everything else of the
home too, so it allows everything.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["authorization", "internal_key", "internal_key_path", "read_internal_key"]


def internal_key_path(home: Path) -> Path:
    """Return where the key of *home* lies."""
    return home / "internal.key"


def internal_key(home: Path) -> str:
    """Return the key of *home*, made now if there is none. Several processes may ask at once: they get the same one.

    Raises:
        OSError: The home cannot be read or written.
    """
    found = read_internal_key(home)
    if found:
        return found
    path = internal_key_path(home)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, written = tempfile.mkstemp(dir=home, prefix=".internal.key-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"mlx-internal-{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        if found is None:
            with suppress(FileExistsError):
                path.hardlink_to(written)  # not a replacement: another process may be the first
        else:
            Path(written).replace(path)  # an empty file, of a disk that was full
    finally:
        Path(written).unlink(missing_ok=True)
    return read_internal_key(home) or ""


def read_internal_key(home: Path) -> str | None:
    """Return the key of *home*; None where there is none yet. :class:`OSError` where it cannot be read."""
    try:
        return internal_key_path(home).read_text("utf-8").strip()
    except FileNotFoundError:
        return None


def authorization(settings: Settings) -> dict[str, str]:
    """Return the header by which a program of this home says who it is: ``MLX_LOCAL_API_KEY``, else the home's own key."""
    key = settings.api_key.get_secret_value() if settings.api_key else None
    if key is None:
        with suppress(OSError, UnicodeDecodeError):  # the server says that a key is missing, which is what there is to say
            key = read_internal_key(settings.home)
    return {"Authorization": f"Bearer {key}"} if key else {}
