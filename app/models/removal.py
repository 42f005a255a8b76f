"""A model's files leave this machine. Whether anybody uses them is for the caller to know."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from app.errors import InvalidRequest
from app.models.hub import hub_cache, read_stamp
from app.models.spec import ModelSpec
from app.settings import Settings

__all__ = ["remove_files"]


def remove_files(spec: ModelSpec, settings: Settings) -> int:
    """Remove *spec*'s files: what we converted, its repository in the hub cache, and what a cut-off download left.

    huggingface_hub deletes from its cache, because its blobs may be shared between repositories. The catalog keeps the
    model, so the next call downloads it again.

    Returns:
        How many bytes that frees.

    Raises:
        InvalidRequest: The model is a folder of the user's, which is not ours to delete.
    """
    if spec.directory is not None:
        msg = f"{spec.id!r} is a folder of the catalog ({spec.directory.name}); delete it yourself."
        raise InvalidRequest(msg, param="model")
    freed_bytes = 0
    own = settings.models_dir / spec.id
    if read_stamp(own).get("repo") == spec.repo:
        freed_bytes += _remove_folder(own)
    if not hub_cache().is_dir():
        return freed_bytes
    from huggingface_hub import scan_cache_dir

    cache = scan_cache_dir(hub_cache())
    found = frozenset(repo for repo in cache.repos if repo.repo_type == "model" and repo.repo_id.casefold() == spec.repo.casefold())
    # From this repository alone: a copy of it, under another name, has commits of the same hash.
    ours = dataclasses.replace(cache, repos=found)
    deletion = ours.delete_revisions(*(revision.commit_hash for repo in found for revision in repo.revisions))
    deletion.execute()
    left = hub_cache() / f"models--{spec.repo.replace('/', '--')}"
    return freed_bytes + deletion.expected_freed_size + _remove_folder(left)


def _remove_folder(folder: Path) -> int:
    """Remove *folder*, if it is there; return the bytes of its files."""
    if not folder.is_dir():
        return 0
    size_bytes = sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    shutil.rmtree(folder)
    return size_bytes
