"""Where the recordings of the transcribe folders stand, as the daemon's own file says. Works while everything is down."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["recordings_in_lines", "recordings_standing"]

_MOST_LINES = 50


def recordings_standing(settings: Settings) -> dict[str, Any]:
    """Return what the daemon wrote last: ``pid``, ``api`` (why it is away), ``folders``, ``files``; nothing if it never ran."""
    try:
        facts = json.loads((settings.daemon_dir / "state.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def recordings_in_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines for people."""
    for folder in facts.get("folders", ()):
        files = [file for file in facts.get("files", ()) if file["folder"] == folder["path"]]
        failed = sum(file["stage"] == "failed" for file in files)
        said = f"{len(files) - failed} in work" + (f", {failed} failed (mlx-local transcribe --retry)" if failed else "")
        yield f"Folder     {folder['path']}: {said}"
        yield from (f"  {trouble}" for trouble in folder["troubles"])
        yield from (f"  {_of_file(file)}" for file in files[:_MOST_LINES])
        if len(files) > _MOST_LINES:
            yield f"  and {len(files) - _MOST_LINES} more"
    if facts.get("api"):
        yield f"  Recordings wait: {facts['api']}"


def _of_file(file: Mapping[str, Any]) -> str:
    name = file["path"].removeprefix(file["folder"] + "/")
    parts = [file["stage"], _progress(file["progress"]), file["job"] or "", file["detail"] or ""]
    text = f"{name}: {', '.join(part for part in parts if part)}"
    return text if text.isprintable() else json.dumps(text)[1:-1]


def _progress(progress: Mapping[str, Any] | None) -> str:
    if not progress or not progress.get("total"):
        return ""
    return f"{progress['done']} of {progress['total']} {progress.get('unit', '')}".strip()
