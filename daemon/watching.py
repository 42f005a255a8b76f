"""Being told by the system that something happened in a folder. It only wakes; what there is, a scan finds out.

Where the system does not tell (a limit is reached, a network drive has no
events), the folder is scanned now and then all the same, and what is wrong is
said in :attr:`Watch.trouble`. A limit may also be reached by a folder that
comes later, in silence: then a scan finds what no event told of.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from daemon.naming import FAILED, FOLDER_SETTINGS, SUFFIXES, in_archive

__all__ = ["Watch"]

_TELLING: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]
_LIMITS = {errno.ENOSPC: "fs.inotify.max_user_watches", errno.EMFILE: "fs.inotify.max_user_instances"}
_TRY_AGAIN_S = 60.0
_TRUST_AGAIN_S = 600.0


class Watch:
    """The events of one folder and all below it."""

    def __init__(self, root: Path, wake: Callable[[], None]) -> None:
        self.trouble = ""
        self._root = root
        self._wake = wake
        self._observer: BaseObserver | None = None
        self._watched: tuple[int, int] | None = None  # device and inode of the folder that is watched
        self._try_at_s = 0.0
        self._told: set[str] = set()

    def told(self) -> set[str]:
        """Return the folders in which something happened since this was asked last."""
        told, self._told = self._told, set()
        return told

    def distrust(self, now_s: float) -> None:
        """Take note that something changed, and no event came."""
        self._end()
        self.trouble = (
            "The system did not tell of a change here (fs.inotify.max_user_watches is reached, or this is a network drive). "
            "Looked at now and then instead."
        )
        self._try_at_s = now_s + _TRUST_AGAIN_S

    def ensure(self, now_s: float) -> None:
        """Watch the folder that now has this name, unless it is watched already or was in vain a moment ago."""
        try:
            found = self._root.stat()
        except OSError:
            self.close()
            return
        identity = (found.st_dev, found.st_ino)
        if identity != self._watched or (self._observer is not None and not self._alive()):
            self.close()
            self._try_at_s = 0.0
            self._watched = identity
        if self._observer is None and now_s >= self._try_at_s:
            self._begin(now_s)

    def close(self) -> None:
        """Watch no more."""
        self._watched = None
        self._end()

    def _end(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()

    def _heard(self, folder: str) -> None:
        self._told.add(folder)
        self._wake()

    def _alive(self) -> bool:
        return self._observer is not None and self._observer.is_alive() and all(one.is_alive() for one in self._observer.emitters)

    def _begin(self, now_s: float) -> None:
        observer: BaseObserver | None = None
        try:
            observer = Observer(timeout=1)
            observer.schedule(_Handler(self._root, self._heard), str(self._root), recursive=True, event_filter=_TELLING)
            observer.start()
        except OSError as error:
            if observer is not None:
                observer.stop()
            limit = _LIMITS.get(error.errno or 0)
            mend = f"; raise {limit} (sysctl)" if limit else ""
            self.trouble = f"The system does not tell of changes here ({error.strerror or error}){mend}. Looked at now and then instead."
            self._try_at_s = now_s + _TRY_AGAIN_S
            return
        self._observer = observer
        self._watch_above(observer)
        self.trouble = ""
        self._wake()  # what came between the last scan and this moment

    def _watch_above(self, observer: BaseObserver) -> None:
        """Hear of it when the folder itself is renamed or removed, which Linux tells in the folder above."""
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # then a scan finds out
                observer.schedule(_Above(self._root, self._wake), str(self._root.parent), event_filter=[DirMovedEvent, DirDeletedEvent])


class _Above(FileSystemEventHandler):
    """Wakes where a folder is not any more."""

    def __init__(self, root: Path, wake: Callable[[], None]) -> None:
        self._root = os.fsencode(root)
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Look at one event."""
        if os.fsencode(event.src_path) == self._root:
            self._wake()


class _Handler(FileSystemEventHandler):
    """Wakes where something happened that a scan would see."""

    def __init__(self, root: Path, heard: Callable[[str], None]) -> None:
        self._root = root
        self._heard = heard

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Look at one event."""
        gone = isinstance(event, FileDeletedEvent | FileMovedEvent)
        source, target = os.fsdecode(event.src_path), os.fsdecode(event.dest_path)
        for path in (source, target):
            if path and self._matters(path, gone=gone and path == source):
                self._heard(str(Path(path).parent))

    def _matters(self, path: str, *, gone: bool = False) -> bool:
        name = Path(path).name
        if name.startswith("."):
            return name == FOLDER_SETTINGS
        if name.endswith(SUFFIXES):
            return gone and name.endswith(FAILED)  # whoever removes it wants another try
        try:
            return not in_archive(Path(path).relative_to(self._root))
        except ValueError:
            return True
