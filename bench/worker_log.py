"""What the worker's own log tells of its loads."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

__all__ = ["Load", "loads"]


@dataclass(frozen=True, slots=True)
class Load:
    """One load, by the wall clock."""

    model: str
    began_at: float
    ended_at: float
    longest_slice_s: float


def loads(home: Path, models: Container[str]) -> list[Load]:
    """Return the loads of *models* in order."""
    told = [json.loads(line) for line in (home / "logs" / "worker.log").read_text().splitlines()]
    ended = [(entry, datetime.fromisoformat(entry["timestamp"]).timestamp()) for entry in told if entry["event"] == "model.loaded"]
    return [Load(entry["model"], at - entry["seconds"], at, entry["longest_slice_s"]) for entry, at in ended if entry["model"] in models]
