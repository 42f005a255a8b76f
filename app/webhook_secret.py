"""What webhooks are signed with: a secret in the form of Standard Webhooks (``whsec_`` and 32 random bytes in base64).

``webhook.secret`` of the home is made by whoever needs it first. It goes into no log, no record and no command's arguments.
After a rotation the file has the secret before it too, on its second line: both sign, so that receivers can change in their
own time. What was rotated twice signs nothing any more.
"""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

from app.secret_file import drawn_secret, replace_secret

__all__ = ["key_of", "rotate_webhook_secret", "webhook_secret_path", "webhook_secrets"]

_PREFIX = "whsec_"
_KEY_BYTES = 32


def webhook_secret_path(home: Path) -> Path:
    """Return where the secrets of *home* lie."""
    return home / "webhook.secret"


def webhook_secrets(home: Path) -> tuple[str, ...]:
    """Return the secrets that sign, the newest first; one is drawn now if there is none.

    Raises:
        OSError: The home cannot be read or written.
    """
    return tuple(drawn_secret(webhook_secret_path(home), _draw).split())


def rotate_webhook_secret(home: Path) -> str:
    """Draw a new secret and return it. The one before it goes on signing.

    Raises:
        OSError: The home cannot be read or written.
    """
    before, new = webhook_secrets(home)[0], _draw()
    replace_secret(webhook_secret_path(home), f"{new}\n{before}")
    return new


def key_of(secret: str) -> bytes:
    """Return the bytes that a secret stands for; :class:`ValueError` where it is damaged."""
    return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)


def _draw() -> str:
    return _PREFIX + base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
