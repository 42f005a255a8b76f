"""Where the recordings of the transcribe folders stand, as the daemon's own file says. Works while everything is down."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["recordings_standing"]


def recordings_standing(settings: Settings) -> dict[str, Any]:
    """Return what the daemon wrote last: ``pid``, ``api`` (why it is away), ``folders``, ``files``; nothing if it never ran."""
    try:
        facts = json.loads((settings.daemon_dir / "state.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
