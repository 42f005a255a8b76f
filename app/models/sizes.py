"""How large a model is: its files, and the memory that it is expected to need. From its folder alone; nothing is loaded.

The worker knows better once it has seen a model run (:mod:`app.scheduler.peaks`);
this is for those who only ask.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from app import machine
from app.models.footprint import read_footprint
from app.models.spec import ModelSpec

__all__ = ["Sizes", "sizes_of"]

_UNSTATED_CONTEXT = 4096
_REMEMBERED = 256


class Sizes(NamedTuple):
    """Bytes; 0 where they are not known."""

    disk_bytes: int = 0
    need_bytes: int = 0  # free memory that a load needs: weights, work, and one request


def sizes_of(spec: ModelSpec, folder: Path | None) -> Sizes:
    """Return the sizes of *spec*, whose files are in *folder*; None: they are not here. A folder that cannot be read has none."""
    said = int(spec.memory or 0)
    if folder is None:
        return Sizes(need_bytes=said)
    try:
        found = _read(spec, folder, (folder / "config.json").stat().st_mtime_ns)
    except (OSError, ValueError):
        return Sizes(need_bytes=said)
    return found._replace(need_bytes=said or found.need_bytes)


@lru_cache(_REMEMBERED)
def _read(spec: ModelSpec, folder: Path, _changed_ns: int) -> Sizes:
    # Of a snapshot in the hub's cache the entries are links to the files.
    disk_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    footprint = read_footprint(folder, spec.tasks, spec.context or _UNSTATED_CONTEXT, cpu=not machine.detect().accelerated)
    return Sizes(disk_bytes, footprint.load_need_bytes)
