"""``.transcribe.toml``: how the recordings of a folder, and of those inside it, are treated.

Every setting has a default, so no file is needed. A folder's file counts over
those of the folders above it. A file that cannot be used is told of once, and
what it said before, or nothing, holds until it is mended.

Its ``notify`` table can have a program run, so it counts only where nobody but
this user can have written it; the rest of the file counts nevertheless.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tomllib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from daemon.naming import FOLDER_SETTINGS, shown

__all__ = ["FolderSettings", "FolderSettingsReader", "Notify"]

_Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_LONGEST_BYTES = 64 * 1024


class Notify(BaseModel):
    """Whom to tell that a recording is done, or failed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    desktop: bool = True  # macOS's Notification Center; elsewhere nothing
    webhook: Annotated[str, StringConstraints(pattern=r"^https?://")] | None = None
    command: Annotated[list[str], Field(min_length=1)] | None = None


class FolderSettings(BaseModel):
    """What one folder wants."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    language: Annotated[str, StringConstraints(min_length=1, max_length=40)] | None = None
    model: _Name | None = None
    correction_model: str | None = None  # empty: no correction
    prompt: Annotated[str, StringConstraints(max_length=20_000)] | None = None
    prompt_additions: Annotated[str, StringConstraints(max_length=20_000)] | None = None
    stages: list[Literal["transcribe", "correct"]] = ["transcribe", "correct"]
    srt: bool = False
    vtt: bool = False
    timestamps: bool = False
    keep_in_place: bool = False
    notify: Notify = Notify()

    @field_validator("stages")
    @classmethod
    def _begins_with_hearing(cls, stages: list[str]) -> list[str]:
        if "transcribe" not in stages:
            msg = "must have 'transcribe': what was not heard cannot be corrected"
            raise ValueError(msg)
        return stages

    @property
    def corrects(self) -> bool:
        """Whether a corrected text is wanted."""
        return "correct" in self.stages and self.correction_model != ""

    def request(self, hot_words: list[str]) -> dict[str, Any]:
        """Return what is asked of the job of a recording."""
        asked: dict[str, Any] = {
            "model": self.model,
            "correction_model": self.correction_model if self.corrects else None,
            "language": self.language,
            "prompt": self.prompt,
            "prompt_additions": self.prompt_additions,
            "hotwords": hot_words,
        }
        stages = ["transcribe", "correct"] if self.corrects else ["transcribe"]
        return {"stages": stages} | {name: value for name, value in asked.items() if value}


class _Version(NamedTuple):
    """What changes when a file does, or whose it is."""

    size: int
    mtime_ns: int
    mode: int
    owner: int


class FolderSettingsReader:
    """Reads the settings of one watched folder and of those inside it, anew when they change."""

    def __init__(self, root: Path) -> None:
        self.troubles: dict[Path, str] = {}
        self._root = root
        self._read: dict[Path, tuple[_Version, dict[str, Any]]] = {}

    def of(self, folder: Path) -> FolderSettings:
        """Return the settings of *folder*, which is the watched one or inside it."""
        merged: dict[str, Any] = {}
        notify: dict[str, Any] = {}
        inside = folder.relative_to(self._root).parts
        for depth in range(len(inside) + 1):
            said = self._said(self._root.joinpath(*inside[:depth]) / FOLDER_SETTINGS)
            notify |= said.get("notify", {})
            merged |= said
        return FolderSettings.model_validate(merged | {"notify": notify})

    def refresh(self, there: Collection[Path], covers: Callable[[Path], bool]) -> None:
        """Look at all files after a scan, so that troubles are told before a recording is taken, and no longer than they last.

        Args:
            there: The files that it found.
            covers: Tells whether it would have found a file.
        """
        for path in there:
            with contextlib.suppress(OSError):  # of a folder that closed since: the next scan tells of it
                self._said(path)
        for path in [path for path in self._read if path not in there and covers(path)]:
            self._forget(path)

    def _forget(self, path: Path) -> None:
        self._read.pop(path, None)
        self.troubles.pop(path, None)

    def _said(self, path: Path) -> dict[str, Any]:
        version = _version_of(path)
        if version is None:
            self._forget(path)
            return {}
        last = self._read.get(path)
        if last is not None and last[0] == version:
            return last[1]
        said = {} if last is None else last[1]
        try:
            said, trouble = _parsed(path)
            self.troubles.pop(path, None)
            if trouble:
                self.troubles[path] = trouble
        except (OSError, ValueError) as error:
            held = "what it said before holds" if last else "it is ignored"
            self.troubles[path] = f"{shown(path)} cannot be used, so {held}: {_sentence(error)}"
        self._read[path] = (version, said)
        return said


def _version_of(path: Path) -> _Version | None:
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _Version(found.st_size, found.st_mtime_ns, found.st_mode, found.st_uid) if stat.S_ISREG(found.st_mode) else None


def _parsed(path: Path) -> tuple[dict[str, Any], str]:
    """Return what a file says, and what of it does not count, as a sentence."""
    with path.open("rb") as file:
        content = file.read(_LONGEST_BYTES)
        found = os.fstat(file.fileno())
    said = tomllib.loads(content.decode())
    FolderSettings.model_validate(said)
    if said.get("notify") and (found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)):
        del said["notify"]
        why = "could be another user's; the file must be yours and writable for you alone (chmod 644)"
        return said, f"[notify] of {shown(path)} is ignored: it {why}"
    return said, ""


def _sentence(error: OSError | ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        text = "there is no such setting" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        return f"{name}: {text}" if name else text
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
