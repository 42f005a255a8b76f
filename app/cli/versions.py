"""``mlx-local --version``: the versions of what matters, read from the installed packages without importing them."""

from __future__ import annotations

import importlib.metadata
import platform

from app import __version__

__all__ = ["package_versions", "versions"]

_PACKAGES = ("mlx", "mlx-lm", "mlx-vlm", "mlx-embeddings", "mlx-audio", "transformers", "dramatiq", "redis", "fastapi")


def versions() -> dict[str, str | None]:
    """Return name and version of ourselves, Python, the packages that do the work, and this machine's Redis server; None: not there."""
    return {
        "mlx-local": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        **package_versions(),
        "redis-server": _server(),
    }


def package_versions() -> dict[str, str | None]:
    """Return name and version of the packages that do the work; None: not there."""
    return {name: _installed(name) for name in _PACKAGES}


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _server() -> str | None:
    from app.cli.redis_server import usable_servers

    return next((str(server) for server in usable_servers()), None)
