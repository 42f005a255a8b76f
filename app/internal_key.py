"""The home's own key: what its daemon and command line carry, so that they work without a setting once keys are required.

``internal.key`` is made by whoever needs it first, whole or not at all, and is
readable by its user alone. Who can read it can read everything else of the
home too, so it allows everything.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from app.secret_file import drawn_secret, read_secret

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
    return drawn_secret(internal_key_path(home), lambda: f"mlx-internal-{secrets.token_urlsafe(32)}")


def read_internal_key(home: Path) -> str | None:
    """Return the key of *home*; None where there is none yet. :class:`OSError` where it cannot be read."""
    return read_secret(internal_key_path(home))


def authorization(settings: Settings) -> dict[str, str]:
    """Return the header by which a program of this home says who it is: ``MLX_LOCAL_API_KEY``, else the home's own key."""
    key = settings.api_key.get_secret_value() if settings.api_key else None
    if key is None:
        with suppress(OSError, UnicodeDecodeError):  # the server says that a key is missing, which is what there is to say
            key = read_internal_key(settings.home)
    return {"Authorization": f"Bearer {key}"} if key else {}
