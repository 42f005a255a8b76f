"""Checks of who is let in: keys where others can reach the server, and files of keys that others cannot read or change."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.cli.finding import Finding
from app.errors import InvalidSetting

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["check_keys"]


def check_keys(settings: Settings) -> Iterator[Finding]:
    """Check the API keys of the home."""
    from app.internal_key import internal_key_path
    from app.named_keys import NamedKeys, check_exposure, keys_path
    from app.webhook_secret import webhook_secret_path

    try:
        check_exposure(settings)
        names = [key.name for key in NamedKeys(settings.home).all()]
    except InvalidSetting as error:
        yield Finding.failed("keys", error.message, "Do what it says; until then the server does not start, or lets nobody in.")
        return
    for path in (keys_path(settings.home), internal_key_path(settings.home), webhook_secret_path(settings.home)):
        if path.is_file() and (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
            yield Finding.warning("keys", f"{path.name} can be read or changed by others (mode {mode:04o})", f"chmod 600 '{path}'")
            return
    said = [*(["MLX_LOCAL_API_KEY"] if settings.api_key else []), *names]
    yield Finding.ok("keys", ", ".join(said) if said else f"none needed: {settings.host} is this machine alone")
