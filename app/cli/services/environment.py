"""What a service finds in its environment: the home, the settings of whoever installs it, and where programs are.

Settings in ``config.toml`` are not repeated: each start reads them there.
Secrets are never written into a service: its file is no place for them, and
both systems show its environment to whoever asks.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.cli.services.release import release
from app.cli.terminal import USAGE, CommandError

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["HOME", "VERSION", "service_environment"]

HOME = "MLX_LOCAL_HOME"
VERSION = "MLX_SERVICE_VERSION"
"""Changes with the code, and so do the files of all services: an upgrade restarts them."""

_PREFIX = "MLX_LOCAL_"
# Of others, what decides which models and which device are found, and how the hub is reached; empty values too: one hides the GPU.
_CARRIED = ("HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES", "SSL_CERT_FILE")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_PATH = ("/opt/homebrew/bin", "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")
_TOOLS = ("redis-server", "valkey-server", "nvidia-smi", "gcc", "g++")  # that we start, and that may be elsewhere
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


def service_environment(settings: Settings, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what every service of a home gets.

    Args:
        settings: Those that *environ* and ``config.toml`` make.
        environ: Of whoever installs.

    Raises:
        CommandError: A secret is in *environ* alone, or a value cannot be written into a service.
    """
    found = {HOME: str(settings.home), VERSION: release(), "PATH": _path()} | _chosen(settings, environ) | _carried(environ)
    for name, value in found.items():
        if _CONTROLS.search(value):
            msg = f"{name} has control characters in it, which no service can be given."
            raise CommandError(msg, USAGE)
    return found


def _chosen(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that *environ* makes, with absolute paths."""
    given = {name.upper(): text for name, text in environ.items() if text}
    chosen = {}
    for field in type(settings).model_fields:
        name = _PREFIX + field.upper()
        if name not in given or name == HOME:
            continue
        value = getattr(settings, field)
        if isinstance(value, SecretStr) or _has_password(given[name]):
            _check_kept(settings.home, field, given[name])
        else:
            chosen[name] = _as_text(value, given[name])
    return chosen


def _as_text(value: object, given: str) -> str:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple) and value and all(isinstance(part, Path) for part in value):
        return os.pathsep.join(map(str, value))
    return given


def _carried(environ: Mapping[str, str]) -> dict[str, str]:
    names = (*_CARRIED, *_PROXIES, *(name.lower() for name in _PROXIES))
    return {name: environ[name] for name in names if name in environ and not _has_password(environ[name])}


def _has_password(text: str) -> bool:
    try:
        return bool(urlsplit(text).password)
    except ValueError:
        return False


def _check_kept(home: Path, field: str, secret: str) -> None:
    """Refuse a secret that services would not find in ``config.toml``."""
    file = home / "config.toml"
    values: dict[str, Any] = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    if values.get(field) != secret:
        msg = (
            f"{_PREFIX}{field.upper()} is a secret, so it is not written into services, and they would not have it:"
            f" put `{field} = \"...\"` into {file}, run `chmod 600 '{file}'`, and install again."
        )
        raise CommandError(msg, USAGE)


def _path() -> str:
    """Return a PATH that is the same from whichever shell one installs."""
    here = str(Path(sys.executable).parent)
    elsewhere = {str(Path(found).parent) for tool in _TOOLS if (found := shutil.which(tool))}
    return os.pathsep.join((here, *_PATH, *sorted(elsewhere - {here, *_PATH})))
