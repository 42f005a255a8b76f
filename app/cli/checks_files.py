"""Checks of folders, disks, catalog and models."""

from __future__ import annotations

import os
import shutil
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.finding import Finding, existing_part, gigabytes
from app.errors import InvalidSetting

if TYPE_CHECKING:
    from app.models.catalog import Catalog
    from app.settings import Settings

__all__ = ["check_catalog", "check_disks", "check_folders", "check_key_file", "check_models"]

_LITTLE_DISK = 10_000_000_000  # a model of the profile 16gb takes about so much


def check_disks(settings: Settings) -> Iterator[Finding]:
    """Check the room for jobs and logs, and for models."""
    from app.models.hub import hub_cache

    for name, folder, least, hard in (
        ("disk of the home", settings.home, int(settings.min_free_disk), True),
        ("disk of the hub cache", hub_cache(), _LITTLE_DISK, False),
    ):
        free = shutil.disk_usage(existing_part(folder)).free
        found = f"{gigabytes(free)} free for {folder}"
        if free >= least:
            yield Finding.ok(name, found)
        elif hard:
            mend = f"Free some space: below {gigabytes(least)} (MLX_LOCAL_MIN_FREE_DISK) every job is refused."
            yield Finding.failed(name, found, mend)
        else:
            yield Finding.warning(name, found, "Free some space before you download a large model, or move the cache (HF_HOME).")


def check_folders(settings: Settings) -> Iterator[Finding]:
    """Check that our folders are this user's and can be written, and that nobody else may write there."""
    folders = {
        "home": settings.home,
        "logs": settings.logs_dir,
        "run": settings.run_dir,
        "redis": settings.redis_dir,
        "spool": settings.spool_dir,
        "models": settings.models_dir,
        "transcribe": settings.transcribe_dir,
        **{f"transcribe {number}": folder for number, folder in enumerate(settings.transcribe_dirs, start=2)},
    }
    if settings.api_url:  # a worker of another machine has no jobs and no recordings of its own
        folders = {name: folders[name] for name in ("home", "logs", "run", "models")} | {"fetched": settings.fetched_dir}
    for name, folder in folders.items():
        yield _check_folder(f"folder {name}", folder)


def _check_folder(name: str, folder: Path) -> Finding:
    if not folder.exists():
        above = existing_part(folder)
        if above.is_dir() and os.access(above, os.W_OK | os.X_OK):
            return Finding.ok(name, f"{folder} is made when it is needed")
        return Finding.failed(name, f"{folder} is not there and cannot be made in {above}", f"Make it, or give yourself {above}.")
    found = folder.stat()
    mode = stat.S_IMODE(found.st_mode)
    said = f"{folder}, mode {mode:04o}, owner {_owner(found.st_uid)}"
    if not folder.is_dir():
        return Finding.failed(name, f"{folder} is no folder", "Move it away.")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Finding.failed(
            name,
            f"{said}: not writable for {_owner(os.getuid())}",
            f"sudo chown -R {_owner(os.getuid())} '{folder}'; chmod u+rwx '{folder}'",
        )
    if found.st_uid != os.getuid():
        return Finding.warning(name, f"{said}: another user's", f"sudo chown -R {_owner(os.getuid())} '{folder}'")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return Finding.warning(name, f"{said}: others may write there", f"chmod go-w '{folder}'")
    return Finding.ok(name, said)


def check_key_file(settings: Settings) -> Finding | None:
    """Check that no other user can read a key or a password in ``config.toml``; nothing where there is no such file."""
    path = settings.home / "config.toml"
    if not path.is_file():
        return None
    mode = stat.S_IMODE(path.stat().st_mode)
    values = tomllib.loads(path.read_text("utf-8"))
    secrets = {
        "the API key": "api_key" in values,
        "a worker's key": "worker_key" in values,
        "a password": "@" in str(values.get("redis_url")),
    }
    held = [name for name, there in secrets.items() if there]
    if held and mode & (stat.S_IRGRP | stat.S_IROTH):
        return Finding.warning("config.toml", f"holds {held[0]} and others may read it (mode {mode:04o})", f"chmod 600 '{path}'")
    return Finding.ok("config.toml", str(path))


def check_catalog(settings: Settings) -> Finding:
    """Check that the catalog can be read."""
    from app.models.catalog import load_catalog

    try:
        catalog = load_catalog(settings)
    except InvalidSetting as error:
        return Finding.failed("catalog", error.message, "Mend the file or the setting that it names.")
    yours = f", with those of {settings.catalog}" if settings.catalog else ""
    return Finding.ok("catalog", f"{len(catalog)} models{yours}")


def check_models(settings: Settings) -> Iterator[Finding]:
    """Check for each role which model has it, and whether its files are here."""
    from app.models.catalog import ROLES, load_catalog

    try:
        catalog = load_catalog(settings)
    except InvalidSetting:
        return  # told by the check of the catalog
    for role in ROLES:
        if role in catalog.roles:
            yield _check_role(settings, catalog, role)


def _check_role(settings: Settings, catalog: Catalog, role: str) -> Finding:
    from app.models.hub import locate
    from app.models.starter import missing_starters

    spec = catalog.get(catalog.roles[role])
    directory = locate(spec, settings)
    if directory is not None:
        return Finding.ok(f"model for {role}", f"{spec.id} ({directory})")
    if spec.directory is not None:
        mend = f"Put the model's files into {spec.directory}, or change the entry's `repo`."
    elif spec.id in {starter.model_id for starter in missing_starters(settings, catalog)}:
        mend = "The next `mlx-local up` fetches it."
    else:
        mend = f"The first call downloads it; so does `mlx-local models pull {spec.id}`."
    return Finding.warning(f"model for {role}", f"{spec.id} is not on this machine", mend)


def _owner(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
