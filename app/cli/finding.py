"""What one check of ``mlx-local doctor`` found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

__all__ = ["Finding", "Outcome", "existing_part", "gigabytes"]


class Outcome(StrEnum):
    """How bad it is. A warning may be meant so; a failure keeps something from working."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """A check's name, its outcome, what was found, and, unless all is well, how to mend it."""

    name: str
    status: Outcome
    found: str
    mend: str | None = None

    @classmethod
    def ok(cls, name: str, found: str) -> Finding:
        """All is well."""
        return cls(name, Outcome.OK, found)

    @classmethod
    def warning(cls, name: str, found: str, mend: str) -> Finding:
        """It works, but not as well as it should, or not for ever."""
        return cls(name, Outcome.WARNING, found, mend)

    @classmethod
    def failed(cls, name: str, found: str, mend: str) -> Finding:
        """Something does not work."""
        return cls(name, Outcome.FAILED, found, mend)


def gigabytes(count: float) -> str:
    """Return a number of bytes for people."""
    return f"{count / 1e9:.1f} GB"


def existing_part(path: Path) -> Path:
    """Return *path*, or the nearest folder above it that is there."""
    return next((part for part in (path, *path.parents) if part.exists()), Path("/"))
