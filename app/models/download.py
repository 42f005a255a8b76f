"""A repository of the hub, downloaded: with progress, stall detection, retries and an end on demand.

Each attempt is a process of its own (:mod:`app.models.fetch`). A socket that hangs, a name that is never looked up or a
library that waits cannot be interrupted from within a process, but a process can always be killed; and huggingface_hub
stays out of the worker. Attempts are repeated with growing pauses while they may go better; one that brought bytes
starts the count again, so a bad line is slow and not fatal. What came is kept for the next attempt, or the next start.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import DownloadFailed, Failure
from app.models.download_errors import DownloadCanceled, DownloadStalled, HubOffline, HubUnreachable, ToldByChild
from app.models.hub import hub_offline, is_complete

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["Download", "DownloadProgress"]

_PAUSES_S = (1.0, 2.0, 4.0, 8.0)  # between attempts that brought nothing
_MOST_ATTEMPTS = 100  # even if each brought something
_WINDOW_S = 10.0  # over which the rate is measured
_SHORTEST_S = 0.5  # too short a time says nothing about a rate
_BEGIN_S = 60.0  # what an attempt has until it says its first word: it asks the hub with time limits of its own
_SECONDS_A_MINUTE = 60


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """How far a download is. Reported several times a second."""

    done_bytes: int
    total_bytes: int
    rate_bytes_per_s: float | None = None  # over the last seconds; None until there is something to measure
    eta_s: float | None = None

    def __str__(self) -> str:
        parts = [f"{self.done_bytes / 1e9:.2f} of {self.total_bytes / 1e9:.2f} GB"]
        if self.rate_bytes_per_s is not None:
            parts.append(f"{self.rate_bytes_per_s / 1e6:.1f} MB/s")
        if self.eta_s is not None:
            minutes, seconds = divmod(round(self.eta_s), _SECONDS_A_MINUTE)
            parts.append(f"{minutes} min {seconds} s left" if minutes else f"{seconds} s left")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class _Ended:
    """How an attempt ended that did not bring everything."""

    error: DownloadFailed
    retry: bool


class Download:
    """One download. :meth:`run` it on a thread that may wait; :meth:`cancel` it from any other.

    Args:
        repo: Name of the repository, ``organisation/name``.
        settings: Say how much disk is to stay free and how long is too long without a byte.
        tell: Told how far it is, on the thread that runs it; must be quick.
    """

    def __init__(self, repo: str, settings: Settings, tell: Callable[[DownloadProgress], None]) -> None:
        self.repo = repo
        self._settings = settings
        self._tell = tell
        self._events: queue.SimpleQueue[bytes | int | None] = queue.SimpleQueue()  # a line, how the child ended, or None: cancelled
        self._measured: deque[tuple[float, int]] = deque()
        self._last = DownloadProgress(0, 0)
        self._first_bytes: int | None = None
        self._checked_bytes = 0

    def run(self) -> Path:
        """Fetch what is missing and return the model's directory.

        Raises:
            DownloadFailed: One of :mod:`app.models.download_errors`; nothing half-made counts as a model.
        """
        if hub_offline():
            raise HubOffline(self.repo)
        fruitless = 0
        for attempt in itertools.count(1):
            before = self._last.done_bytes
            ended = self._attempt()
            if isinstance(ended, Path):
                return self._checked(ended)
            fruitless = 0 if self._first_bytes is not None and self._last.done_bytes > max(before, self._first_bytes) else fruitless + 1
            if not ended.retry or fruitless > len(_PAUSES_S) or attempt == _MOST_ATTEMPTS:
                raise ended.error
            self._pause(_PAUSES_S[max(0, fruitless - 1)])
        raise AssertionError  # count() has no end

    def cancel(self) -> None:
        """End the download; :meth:`run` then raises :class:`DownloadCanceled`. May be called before, during and after it."""
        self._events.put(None)

    @property
    def progress(self) -> DownloadProgress:
        """How far it is."""
        return self._last

    def _checked(self, folder: Path) -> Path:
        """Refuse files that all came and still are no model that could be found again."""
        if not is_complete(folder):
            msg = f"{self.repo!r} was downloaded and is no model that can be loaded: it lacks a config.json, or weights beside that."
            raise DownloadFailed(msg, param="model")
        return folder

    def _pause(self, pause_s: float) -> None:
        try:
            self._events.get(timeout=pause_s)
        except queue.Empty:
            return
        raise DownloadCanceled(self.repo)

    def _attempt(self) -> Path | _Ended:
        command = [sys.executable, "-P", "-m", "app.models.fetch", self.repo, str(int(self._settings.min_free_disk))]
        quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        # A process group of its own: Ctrl-C is for us to see, and the child ends when its standard input does.
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | quiet,
            process_group=0,
        ) as child:
            reader = threading.Thread(target=self._read, args=(child,), name="download-reader", daemon=True)
            reader.start()
            try:
                return self._follow()
            finally:
                child.kill()
                reader.join()
                self._forget_lines()

    def _read(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout  # noqa: S101 - for the type checker: it is a pipe
        for line in child.stdout:
            self._events.put(line)
        self._events.put(child.wait())

    def _forget_lines(self) -> None:
        """Drop what an attempt that is over has left in the queue; a cancellation stays."""
        canceled = False
        while not self._events.empty():
            canceled |= self._events.get() is None
        if canceled:
            self._events.put(None)

    def _follow(self) -> Path | _Ended:
        """Follow the child to its end, or to the moment at which nothing came for too long."""
        stall_s = self._settings.download_stall.total_seconds()
        deadline_s = time.monotonic() + max(_BEGIN_S, stall_s)
        words = ""
        self._measured.clear()
        while True:
            try:
                event = self._events.get(timeout=max(0.0, deadline_s - time.monotonic()))
            except queue.Empty:
                return _Ended(DownloadStalled(self.repo, stall_s, self._last.done_bytes, self._last.total_bytes), retry=True)
            if event is None:
                raise DownloadCanceled(self.repo)
            if isinstance(event, int):
                text = f"{self.repo!r} could not be downloaded: the process that fetches it ended with {event}. {words}".strip()
                return _Ended(DownloadFailed(text), retry=True)
            said = _object(event)
            if "path" in said:
                return Path(str(said["path"]))
            if "error" in said:
                failure = ToldByChild(Failure.model_validate(said["error"]))
                # A network that was there a moment ago comes back; one that never was is told at once.
                lost = failure.failure.code == HubUnreachable.code and self._brought_something()
                return _Ended(failure, retry=bool(said.get("retry")) or lost)
            if "done" not in said:
                words = event.decode(errors="replace").strip()[-300:]
            elif self._measure(int(said["done"]), int(said["total"]), int(said["checked"])):
                deadline_s = time.monotonic() + stall_s

    def _brought_something(self) -> bool:
        return self._first_bytes is not None and self._last.done_bytes > self._first_bytes

    def _measure(self, done: int, total: int, checked: int) -> bool:
        """Note and tell how far it is; return whether that is further than before, or the beginning of an attempt."""
        now = time.monotonic()
        if self._first_bytes is None:
            self._first_bytes = done
        further = not self._measured or done > self._last.done_bytes or checked > self._checked_bytes
        self._checked_bytes = checked
        self._measured.append((now, done))
        while now - self._measured[0][0] > _WINDOW_S:
            self._measured.popleft()
        since, was = self._measured[0]
        rate = max(0, done - was) / (now - since) if now - since >= _SHORTEST_S else None
        self._last = DownloadProgress(done, total, rate, (total - done) / rate if rate else None)
        self._tell(self._last)
        return further


def _object(line: bytes) -> dict[str, Any]:
    """Return the JSON object on *line*; empty where a library has written something of its own."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
