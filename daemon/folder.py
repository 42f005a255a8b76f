"""One watched folder: there, watched, and looked at. What is wrong with it is said, and passes when the cause does."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path

from app.log import get_logger
from daemon.folder_settings import FolderSettings, FolderSettingsReader
from daemon.naming import shown
from daemon.results import is_mark_of_nobody
from daemon.scanning import Scan, scan
from daemon.watching import Watch
from daemon.writing import sweep

__all__ = ["Folder"]

log = get_logger("daemon")

_BLIND_RESCAN_S = 5.0  # where the system does not tell of changes
_LEAST_PAUSE_S = 0.2
_PAUSE_TIMES = 10  # a scan may take this part of the time, however busy a folder is


class Folder:
    """A watched folder."""

    def __init__(
        self, root: Path, extensions: Collection[str], others: Collection[Path], rescan_s: float, wake: Callable[[], None]
    ) -> None:
        self.root = root
        self.last: Scan | None = None  # what was found; None: it could not be looked at
        self._extensions = extensions
        self._others = [other for other in others if other != root]
        self._rescan_s = rescan_s
        self._changed = True
        self._wake = wake
        self._watch = Watch(root, self._woken)
        self._reader = FolderSettingsReader(root)
        self._look_at_s = 0.0
        self._not_before_s = 0.0
        self._away = ""
        self._told: set[str] = set()
        self._untold: set[str] = set()  # folders in which a scan found what no event had told of

    @property
    def troubles(self) -> list[str]:
        """What is wrong, in sentences."""
        unreadable = self.last.unreadable if self.last is not None else {}
        found = [self._away, self._watch.trouble, *self._reader.troubles.values()]
        return [*filter(None, found), *(f"{shown(path)} cannot be read ({why})." for path, why in unreadable.items())]

    def settings_of(self, folder: Path) -> FolderSettings:
        """Return the settings of this folder, or of one inside it."""
        return self._reader.of(folder)

    def settings_if_readable(self, folder: Path) -> FolderSettings | None:
        """Return them, or None where they cannot be read now: the folder closed since it was scanned."""
        try:
            return self._reader.of(folder)
        except OSError:
            return None

    def look(self, now_s: float, home_mark: str) -> bool:
        """Scan the folder if that is due; return whether it was, and whether :attr:`last` is new therefore."""
        if now_s < self.due_s():
            return False
        unasked, before = not self._changed, self.last
        self._changed = False
        self._watch.ensure(now_s)  # first: what comes between a scan and a watch would be seen late
        try:
            self.last = self._look(home_mark)
            self._reader.refresh(self.last.settings, self.covers)
            self._away = ""
        except OSError as error:
            self.last = None
            self._away = f"{shown(self.root)} cannot be read ({error.strerror or error})."
        ended_s = time.monotonic()
        self._judge_watch(before, unasked=unasked, now_s=now_s)
        blind = self._watch.trouble or self.last is None
        self._look_at_s = ended_s + (min(_BLIND_RESCAN_S, self._rescan_s) if blind else self._rescan_s)
        self._not_before_s = ended_s + max(_LEAST_PAUSE_S, (ended_s - now_s) * _PAUSE_TIMES)
        self._tell()
        return True

    def due_s(self) -> float:
        """Return when it is to be looked at again."""
        return self._not_before_s if self._changed else self._look_at_s

    def covers(self, path: Path) -> bool:
        """Return whether the last scan would have found a recording at *path*: it is inside, and nothing above it was unreadable."""
        return self.last is not None and path.is_relative_to(self.root) and not any(map(path.is_relative_to, self.last.unreadable))

    def close(self) -> None:
        """Watch it no more."""
        self._watch.close()

    def make(self) -> None:
        """Make the folder, with all above it, where it is missing: at the start."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            log.warning("folder.not_made", path=shown(self.root), reason=error.strerror)

    def _look(self, home_mark: str) -> Scan:
        if not self.root.exists() and self.root.parent.exists():  # else its disk is away, and no folder is made in its stead
            self.root.mkdir()
            log.info("folder.made", path=shown(self.root))
            self._changed = True  # watched from the next look on
        found = scan(self.root, self._extensions, self._others)
        sweep(found.parts, home_mark)
        for mark in found.failed_marks:
            try:
                if is_mark_of_nobody(mark):
                    mark.unlink()
            except OSError:  # gone, or not readable: it stays as it is
                continue
        return found

    def _judge_watch(self, before: Scan | None, *, unasked: bool, now_s: float) -> None:
        """Trust events no more when a scan that none asked for found something new, and none has come of it until the next scan."""
        if self._untold - self._watch.told() and not self._watch.trouble:
            self._watch.distrust(now_s)
        self._untold = set()
        if unasked and before is not None and self.last is not None:
            self._untold = {str(path.parent) for path, _ in self.last.recordings.items() - before.recordings.items()}

    def _woken(self) -> None:
        self._changed = True
        self._wake()

    def _tell(self) -> None:
        troubles = set(self.troubles)
        for trouble in troubles - self._told:
            log.warning("folder.trouble", path=shown(self.root), reason=trouble)
        self._told = troubles
