"""Where a model's files are on this machine, if they are all here. Never the network.

The hub cache is the usual one, shared with every other tool, so what they have
downloaded is found. Its layout is written out here rather than asked of
huggingface_hub: that library answers with any snapshot, complete or not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from app.models.spec import ModelSpec
from app.settings import Settings

__all__ = ["STAMP", "hub_cache", "hub_offline", "is_complete", "locate", "read_stamp"]

STAMP = "mlx-local.json"
"""Name of the file that says what a directory of ``settings.models_dir`` was made from."""


def locate(spec: ModelSpec, settings: Settings) -> Path | None:
    """Return the directory that holds all of *spec*'s files, None where there is none.

    A model whose entry names a directory is looked for there alone. For one of
    the hub, what we converted ourselves from the same repository comes before
    the hub cache, and the cache's ``main`` before its other revisions.
    """
    if spec.directory is not None:
        return spec.directory if is_complete(spec.directory) else None
    own = settings.models_dir / spec.id
    if read_stamp(own).get("repo") == spec.repo and is_complete(own):
        return own
    return next((snapshot for snapshot in _snapshots(spec.repo) if is_complete(snapshot)), None)


def is_complete(directory: Path) -> bool:
    """Return whether *directory* has a configuration and every weight file that belongs to it.

    The weights are those that ``model.safetensors.index.json`` names, or
    else any ``model*.safetensors`` or ``weights*.safetensors``.
    """
    if not (directory / "config.json").is_file():
        return False
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        shards = _read_object(index).get("weight_map")
        return isinstance(shards, dict) and bool(shards) and all((directory / str(name)).is_file() for name in set(shards.values()))
    return any(file.is_file() for pattern in ("model*.safetensors", "weights*.safetensors") for file in directory.glob(pattern))


def hub_cache() -> Path:
    """Return the hub cache's folder: ``HF_HUB_CACHE``, else ``HF_HOME``/hub, else the usual place."""
    if chosen := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(chosen).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface" / "hub"


def hub_offline() -> bool:
    """Return whether the user forbids downloads: ``HF_HUB_OFFLINE``, read as huggingface_hub reads it."""
    said = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return said.upper() in {"1", "ON", "YES", "TRUE"}


def read_stamp(directory: Path) -> Mapping[str, object]:
    """Return what *directory* was made from; empty where we did not make it."""
    return _read_object(directory / STAMP)


def _snapshots(repo: str) -> Iterator[Path]:
    """Yield the revisions of *repo* in the cache, ``main`` first, then the newest."""
    root = hub_cache() / f"models--{repo.replace('/', '--')}"
    folder = root / "snapshots"
    try:
        commit = (root / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        commit = ""
    if commit:
        yield folder / commit
    if folder.is_dir():
        yield from sorted(folder.iterdir(), key=lambda snapshot: snapshot.stat().st_mtime_ns, reverse=True)


def _read_object(file: Path) -> Mapping[str, object]:
    """Return the JSON object in *file*; empty where there is no such file or it holds something else."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
