"""What makes two transcriptions the same one: what is heard, and all that is asked about it.

The identity is also the Idempotency-Key of the job, so a submission that is
repeated, by a daemon that remembers nothing even, joins the job that is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["home_mark", "identity_of"]

_VERSION = 1  # another number: what was transcribed before is none of the same


def identity_of(sha256: str, request: Mapping[str, Any], settings: Settings) -> str:
    """Return the identity of a recording's transcript.

    Args:
        sha256: Of the recording's content.
        request: What is asked of the job. A role in it means another model under another profile or catalog, so these count too.
        settings: Say which profile and catalog.
    """
    catalog = ""
    if settings.catalog is not None:
        try:
            catalog = hashlib.sha256(settings.catalog.read_bytes()).hexdigest()
        except OSError:  # the API, which needs it, says so
            catalog = "unreadable"
    whole = [_VERSION, sha256, request, settings.profile, catalog]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def home_mark(settings: Settings) -> str:
    """Return what tells the unfinished files of this home from those of others that share a folder with it."""
    import platform

    return hashlib.sha256(f"{platform.node()}:{settings.home}".encode("utf-8", "surrogateescape")).hexdigest()[:8]
