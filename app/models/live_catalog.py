"""The catalog of a process that stays: read again on demand, and when ``models pull`` has added to it."""

from __future__ import annotations

import threading
from pathlib import Path

from app.errors import InvalidSetting
from app.log import get_logger
from app.models.catalog import Catalog, load_catalog
from app.settings import Settings

__all__ = ["LiveCatalog"]

log = get_logger("catalog")


class LiveCatalog:
    """Holds the catalog as it was last read without an error. Thread-safe.

    Args:
        settings: Say which files.

    Raises:
        InvalidSetting: The first reading failed.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._stamp = _stamp(settings.pulled_catalog)
        self._catalog = load_catalog(settings)

    @property
    def current(self) -> Catalog:
        """The catalog; a look at one file's time tells whether another process has added a model."""
        if _stamp(self._settings.pulled_catalog) != self._stamp:
            self.read_again()
        return self._catalog

    def read_again(self) -> None:
        """Read every file again; one that cannot be used is told and leaves the catalog as it was."""
        with self._lock:
            self._stamp = _stamp(self._settings.pulled_catalog)
            try:
                self._catalog = load_catalog(self._settings)
            except InvalidSetting as error:
                log.error("catalog.invalid", reason=error.message)  # noqa: TRY400 - the sentence says it all
            else:
                log.info("catalog.read", models=len(self._catalog))


def _stamp(file: Path) -> tuple[int, int]:
    """Return what changes when *file* is replaced."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_ino
