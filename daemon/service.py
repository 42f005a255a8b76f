"""The daemon's loop: look at the folders, take each recording a step further, say where all stands, wait for what comes."""

from __future__ import annotations

import math
import time
from threading import Event
from typing import TYPE_CHECKING

from app.log import get_logger
from daemon.api import Api
from daemon.desk import Desk
from daemon.flight import Stage
from daemon.flights import Flights
from daemon.folder import Folder
from daemon.identity import home_mark
from daemon.ledger import Ledger, LedgerUnavailable
from daemon.naming import shown
from daemon.notifying import Notifier
from daemon.standing import Standing

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["Service"]

log = get_logger("daemon")

_SHORTEST_WAIT_S = 0.02
_LONGEST_WAIT_S = 60.0
_LEDGER_PAUSE_S = 5.0


class Service:
    """The whole of it."""

    def __init__(self, settings: Settings, stop: Event, wake: Event) -> None:
        """Prepare.

        Args:
            settings: Of this process.
            stop: Set, and *wake* after it, when :meth:`run` is to return.
            wake: Set when there may be something to do.

        Raises:
            LedgerUnavailable: The home cannot be written now.
        """
        self._mark = home_mark(settings)
        self._wake = wake
        self._stop = stop
        self._ledger = Ledger(settings.daemon_dir / "ledger.sqlite3")
        self._api = Api(settings, self._stop)
        self._flights = Flights(self._api, self._ledger, settings.transcribe_in_flight, self._wake.set)
        self._notifier = Notifier()
        self._desk = Desk(settings, self._ledger, self._flights, self._notifier, self._mark, self._wake.set)
        self._standing = Standing(settings.daemon_dir / "state.json")
        roots = [root.resolve() for root in settings.watched_dirs]
        rescan_s = max(0.1, settings.transcribe_rescan.total_seconds())
        extensions = frozenset(settings.transcribe_extensions)
        self._folders = [Folder(root, extensions, roots, rescan_s, self._wake.set) for root in dict.fromkeys(roots)]

    def run(self) -> None:
        """Work until a stop is asked for."""
        for folder in self._folders:
            folder.make()
        log.info("daemon.started", folders=[shown(folder.root) for folder in self._folders])
        while not self._stop.is_set():
            self._wake.clear()
            try:
                due_s = self._round(time.monotonic())
            except LedgerUnavailable as error:  # of one recording it is that recording's trouble; here, of all
                log.warning("ledger.unavailable", reason=str(error))
                due_s = time.monotonic() + _LEDGER_PAUSE_S
            self._wake.wait(min(_LONGEST_WAIT_S, max(_SHORTEST_WAIT_S, due_s - time.monotonic())))
        self._close()

    def _round(self, now_s: float) -> float:
        scanned = [folder for folder in self._folders if folder.look(now_s, self._mark)]
        for folder in scanned:
            self._desk.take_in(folder)
        self._flights.advance(now_s)
        due_s = self._desk.advance(time.monotonic())
        due_s = min(due_s, self._flights.advance(time.monotonic()))
        if scanned:
            self._desk.clear_up(self._folders)
        return min(due_s, self._tell(time.monotonic()), *(folder.due_s() for folder in self._folders))

    def _tell(self, now_s: float) -> float:
        folders = [{"path": shown(folder.root), "troubles": folder.troubles} for folder in self._folders]
        files = [recording.as_facts() for recording in self._desk.recordings.values() if recording.stage is not Stage.FINISHED]
        return self._standing.tell(folders, files, self._flights.away, now_s)

    def _close(self) -> None:
        self._tell(math.inf)
        self._desk.close()
        self._flights.close()
        self._notifier.close()
        for folder in self._folders:
            folder.close()
        self._ledger.close()
        log.info("daemon.stopped")
