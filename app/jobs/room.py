"""Whether there is room to keep another job. What is accepted is never dropped, so what cannot be kept is refused."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from app.errors import QueueFull
from app.jobs.retention import Retention

if TYPE_CHECKING:
    from app.jobs.store import JobStore
    from app.settings import Settings

__all__ = ["Room", "check_disk"]

_CHECK_EVERY_S = 2.0
_LEFT_BYTES = 64 * 1024**2


def check_disk(settings: Settings, need_bytes: int) -> None:
    """Refuse content for which the home's disk has no room. What accepted jobs make may have the disk that submissions leave free.

    Raises:
        QueueFull: It would fill the disk.
    """
    free = shutil.disk_usage(settings.home).free
    if free < need_bytes + _LEFT_BYTES:
        msg = f"The disk of {settings.home} has {free / 1e9:.1f} GB left, and {need_bytes / 1e9:.1f} GB are to come; free some space."
        raise QueueFull(msg, retry_after_s=30)


class Room:
    """The memory of Redis and the disk of the home."""

    def __init__(self, store: JobStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._schema_checked = False
        self._checked_s = 0.0

    def check(self) -> None:
        """Refuse what could not be kept, and say once for how long the rest is.

        Looks every few seconds, because INFO and statvfs are not free.

        Raises:
            QueueFull: A limit is reached.
            NewerSchema: The records there are of a later version of this software.
        """
        if not self._schema_checked:
            self._store.check_schema()
            Retention.of(self._settings).say(self._store.client)
            self._schema_checked = True
        if time.monotonic() - self._checked_s < _CHECK_EVERY_S:
            return
        used = self._store.used_bytes()
        if used > self._settings.max_redis_bytes:
            msg = f"Redis uses {used / 1e9:.1f} GB of the {self._settings.max_redis_bytes / 1e9:.1f} GB allowed; try again later."
            raise QueueFull(msg, retry_after_s=60)
        free = shutil.disk_usage(self._settings.home).free
        if free < self._settings.min_free_disk:
            msg = f"The disk of {self._settings.home} has {free / 1e9:.1f} GB left; free some space."
            raise QueueFull(msg, retry_after_s=60)
        self._checked_s = time.monotonic()
