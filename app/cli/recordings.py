"""Where the recordings of the transcribe folders stand, for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from app.folder_state import recordings_standing

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["Recordings", "recordings_in_lines"]

_MOST_LINES = 50


class Recordings:
    """Whose jobs those of the daemon are. Names are told from its file alone: they are in no record and no log of the jobs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._by_job: dict[str, str] = {}  # kept, for the daemon tells nothing of what is done

    def by_job(self) -> Mapping[str, str]:
        """Return the names of the recordings whose transcripts are, or were, under way, by job."""
        named: dict[str, list[str]] = {}
        for file in recordings_standing(self._settings).get("files", ()):
            if file["job"]:
                named.setdefault(file["job"], []).append(_name(file))
        self._by_job |= {job: ", ".join(names) for job, names in named.items()}
        return self._by_job

    def without_job(self) -> list[tuple[str, str, str]]:
        """Return stage, name and trouble of the recordings that have no job yet; none while no daemon lives."""
        from app.cli.ownership import living

        facts = recordings_standing(self._settings)
        daemon = living(self._settings.run_dir).get("daemon")
        if daemon is None or daemon.pid != facts.get("pid"):
            return []
        files = [file for file in facts.get("files", ()) if not file["job"] and file["stage"] != "failed"]
        return [(file["stage"], _name(file), _printable(file["detail"] or "")) for file in files]


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
    parts = [file["stage"], _progress(file["progress"]), file["job"] or "", _printable(file["detail"] or "")]
    return f"{_name(file)}: {', '.join(part for part in parts if part)}"


def _name(file: Mapping[str, Any]) -> str:
    return _printable(file["path"].removeprefix(file["folder"] + "/"))


def _printable(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)[1:-1]


def _progress(progress: Mapping[str, Any] | None) -> str:
    if not progress or not progress.get("total"):
        return ""
    return f"{progress['done']} of {progress['total']} {progress.get('unit', '')}".strip()
