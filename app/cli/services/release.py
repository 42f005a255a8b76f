"""Which code services run, as a short text that is another one after every upgrade.

A release has a number, but who pulls from a repository gets new code under the
old one. So the files of this software count, wherever they lie, and beside them
the versions of Python and of the packages that do the work.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from pathlib import Path

import app
from app import __version__
from app.cli.versions import package_versions

__all__ = ["release"]

_HERE = Path(app.__file__).parent


def release(folders: Iterable[Path] = (_HERE, _HERE.with_name("daemon"))) -> str:
    """Return the version, and a digest of all that upgrades change.

    Args:
        folders: Of our packages.
    """
    digest = hashlib.sha256(repr((platform.python_version(), package_versions())).encode())
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(folder)}\0{file.stat().st_size}\0".encode())
                digest.update(file.read_bytes())
    return f"{__version__}-{digest.hexdigest()[:12]}"
