"""Where recordings of the transcribe folders stand: the daemon's file, as far as it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from app.jobs.record import Progress

__all__ = ["Folders", "folders_of"]


class Folder(BaseModel, frozen=True):
    """A watched folder, and what keeps it from being watched well."""

    path: str
    troubles: tuple[str, ...] = ()


class File(BaseModel, frozen=True):
    """A recording that is in work, or failed."""

    path: str
    stage: str
    job: str | None = None
    detail: str | None = None
    progress: Progress | None = None

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rpartition("/")[2]


class Folders(BaseModel, frozen=True):
    """All of them."""

    api: str | None = None  # why the daemon does not get on
    folders: tuple[Folder, ...] = ()
    files: tuple[File, ...] = ()


def folders_of(facts: Mapping[str, Any]) -> Folders:
    """Read what the daemon wrote; nothing is known where a later version wrote it otherwise."""
    try:
        return Folders.model_validate(facts)
    except ValidationError:
        return Folders()
