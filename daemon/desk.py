"""What is done with each recording, step by step, from the moment it is seen to its place in the archive.

One thread calls :meth:`Desk.advance` again and again; a step that takes long
(reading a file, the API) goes on elsewhere meanwhile. Trouble with one
recording or folder (no permission, no space) is noted at that recording, tried
again after a while, and keeps no other from going on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from app.log import get_logger
from app.machine import writers_of
from daemon.clearing import Clearing
from daemon.finishing import Ending, Finisher
from daemon.flight import Stage
from daemon.hot_words import hot_words
from daemon.identity import identity_of
from daemon.ledger import Known, Ledger
from daemon.naming import CORRECTED, FAILED, RAW, shown
from daemon.outcome import Failed, Output
from daemon.recording import Recording
from daemon.results import Place
from daemon.signature import Changed, content_hash, signature_of
from daemon.stillness import Stillness

if TYPE_CHECKING:
    from app.settings import Settings
    from daemon.flights import Flights
    from daemon.folder import Folder
    from daemon.folder_settings import FolderSettings
    from daemon.notifying import Notifier

__all__ = ["Desk"]

log = get_logger("daemon")

_READERS = 2
_NEVER_S = float("inf")


class Desk:
    """All recordings that are not finished."""

    def __init__(
        self, settings: Settings, ledger: Ledger, flights: Flights, notifier: Notifier, home_mark: str, wake: Callable[[], None]
    ) -> None:
        self.recordings: dict[Path, Recording] = {}
        self._settings = settings
        self._ledger = ledger
        self._flights = flights
        self._notifier = notifier
        self._finisher = Finisher(ledger, home_mark)
        self._clearing = Clearing(ledger)
        self._wake = wake
        self._settle_s = settings.transcribe_settle.total_seconds()
        self._stillness = Stillness(self._settle_s)
        self._readers = ThreadPoolExecutor(_READERS, "read")

    def close(self) -> None:
        """Start nothing more."""
        self._readers.shutdown(wait=False, cancel_futures=True)

    def take_in(self, folder: Folder) -> None:
        """Take note of what a folder holds after a scan."""
        found, wanted = folder.last.recordings if folder.last is not None else {}, cache(folder.settings_if_readable)
        for path, recording in list(self.recordings.items()):
            if recording.folder is folder and path not in found and folder.covers(path):
                self._let_go(recording)
                del self.recordings[path]
        for path, signature in found.items():
            here = self.recordings.get(path)
            if here is None:
                self.recordings[path] = Recording(path, folder, signature)
            elif here.signature != signature:
                self._let_go(here)
                here.anew(signature)
            elif here.stage is Stage.FAILED or (here.stage is Stage.FINISHED and here.finished_by != wanted(path.parent)):
                here.stage = Stage.READING  # its mark may be gone, or the settings changed

    def advance(self, now_s: float) -> float:
        """Take each recording as far as it goes now; return when there is something to do again."""
        due_s = self._settle(now_s)
        for recording in list(self.recordings.values()):
            if now_s < recording.not_before_s:
                due_s = min(due_s, recording.not_before_s)
                continue
            self._take_further(recording, now_s)
            if recording.not_before_s > now_s:
                due_s = min(due_s, recording.not_before_s)
        return due_s

    def clear_up(self, folders: Iterable[Folder]) -> None:
        """Clear up after recordings that are gone; for good, once it is known of every other what it holds."""
        covering = list(folders)
        for known in self._ledger.everything():
            if known.path not in self.recordings and any(one.covers(known.path) for one in covering):
                self._clearing.clear_if_gone(known)
        if not any(recording.stage in {Stage.SETTLING, Stage.READING} for recording in self.recordings.values()):
            self._ledger.forget_replaced()

    def _take_further(self, recording: Recording, now_s: float) -> None:
        try:
            try:
                self._step(recording)
            except Changed:
                self._again(recording)
        except OSError as error:
            self._stumble(recording, error, now_s)
        except sqlite3.Error:  # the memory is damaged: that concerns all, and the next start puts it aside
            raise
        except Exception as error:  # noqa: BLE001 - a defect that one recording brings out must not keep the others from going on
            self._fail(recording, error, now_s)

    def _at(self, stage: Stage) -> Iterable[Recording]:
        return (recording for recording in self.recordings.values() if recording.stage is stage)

    def _let_go(self, recording: Recording) -> None:
        self._stillness.forget(recording.path)
        if recording.flight is not None:
            self._flights.leave(recording.flight, recording.path)

    def _again(self, recording: Recording) -> None:
        """Begin anew with a file that is not what it was thought to be."""
        signature = signature_of(recording.path) or recording.signature
        self._let_go(recording)
        known = self._ledger.known(recording.path)
        begun = (known is not None and known.stem is not None) or self._ledger.half_of(recording.path) is not None
        if known is not None and not begun:  # else results were begun, which have to be cleared up
            self._ledger.forget(recording.path)
        recording.anew(signature)

    def _stumble(self, recording: Recording, error: OSError, now_s: float) -> None:
        why = f"{error.strerror or error}" + (f": {shown(error.filename)}" if error.filename else "")
        if why != recording.trouble:
            log.warning("recording.trouble", path=shown(recording.path), stage=recording.stage, reason=why)
        recording.stumble(why, now_s)

    def _fail(self, recording: Recording, error: Exception, now_s: float) -> None:
        why = f"internal error ({type(error).__name__}: {error}); the log says more"
        if why != recording.trouble:
            log.error("recording.defect", path=shown(recording.path), stage=recording.stage, exc_info=error)
        recording.stumble(why, now_s)

    def _settle(self, now_s: float) -> float:
        """Look which files stand still now; return when to look again."""
        due_s, still = _NEVER_S, []
        for recording in self._at(Stage.SETTLING):
            if now_s < recording.not_before_s:
                due_s = min(due_s, recording.not_before_s)
                continue
            try:
                signature = signature_of(recording.path)
            except OSError as error:
                self._stumble(recording, error, now_s)
                due_s = min(due_s, recording.not_before_s)
                continue
            if signature is None:  # the next scan misses it
                continue
            recording.signature = signature
            wait_s = self._stillness.still_in_s(recording.path, signature, now_s)
            if wait_s > 0:
                due_s = min(due_s, now_s + wait_s)
            else:
                still.append(recording)
        writers = writers_of([recording.path for recording in still])
        for recording in still:
            writer = writers.get(recording.path)
            if writer is None:
                recording.calm()
                recording.stage = Stage.READING
            else:
                recording.trouble = f"process {writer} holds it open for writing"
                due_s = min(due_s, now_s + max(0.1, self._settle_s))
        return due_s

    def _step(self, recording: Recording) -> None:
        if recording.stage is Stage.READING:
            if recording.known is None and not self._read(recording):
                return
            self._decide(recording)
        flight = recording.flight
        if flight is not None and recording.stage in {Stage.WAITING, Stage.WRITING}:
            if recording.path not in flight.wanted_by:
                raise Changed  # it could not be sent as what it was
            if flight.outcome is not None:
                recording.stage = Stage.WRITING
                self._write(recording)
            elif flight.heard is not None and recording.heard_of != flight.job_id:
                self._write_heard(recording, flight.heard)

    def _read(self, recording: Recording) -> bool:
        """Find out what a recording holds; return whether that is known now."""
        known = self._ledger.known(recording.path)
        if known is None or known.signature != recording.signature:
            if recording.hashing is None:
                recording.hashing = self._readers.submit(content_hash, recording.path, recording.signature)
                recording.hashing.add_done_callback(lambda _: self._wake())
            if not recording.hashing.done():
                return False
            hashing, recording.hashing = recording.hashing, None
            if known is not None:
                self._clearing.clear(known)
            known = Known(recording.path, recording.signature, hashing.result())
            self._ledger.keep(known)
        recording.known = known
        return True

    def _decide(self, recording: Recording) -> None:
        """Find out what is still to be done about a recording whose content is known."""
        known, folder = recording.known, recording.folder
        assert known is not None  # noqa: S101 - for the type checker: its content is known
        wanted = folder.settings_of(recording.path.parent)
        if known.finished:
            self._finisher.add_subtitles(known, wanted)
            recording.stage, recording.finished_by = Stage.FINISHED, wanted
            return
        for other in self._ledger.of_content(known.sha256):
            if other.path != known.path:
                self._clearing.clear_if_gone(other)
        self._clearing.remove_replaced(known)
        request = wanted.request(hot_words(folder.root))
        identity = identity_of(known.sha256, request, self._settings)
        if known.identity is not None and (submitted := self._ledger.job_of(known.identity)):
            identity, request = known.identity, dict(submitted[1])  # what was asked for before the settings changed comes first
        elif known.identity is not None and (known.stem is not None or self._ledger.transcribed(known.identity)):
            identity = known.identity
        recording.known = known = replace(known, identity=identity)
        place = self._finisher.place_of(recording.path, known.sha256, identity)
        if place.failed(identity):
            recording.stage = Stage.FAILED
            recording.trouble = recording.trouble or f"{shown(place.path(FAILED).name)} says why"
        elif place.complete(identity, corrects="correct" in request["stages"]):
            self._finisher.add_subtitles(replace(known, stem=place.stem), wanted)
            self._done(recording, wanted, self._finisher.archive(folder.root, known, wanted, place))
        elif (finished := self._was_finished(known, wanted)) is not None:
            self._done(recording, wanted, self._finisher.archive(folder.root, known, wanted, finished))
        else:
            self._ledger.keep(known)
            recording.flight = self._flights.join(identity, known.sha256, request, recording.path, recording.signature)
            recording.stage = Stage.WAITING
            recording.calm()

    def _was_finished(self, known: Known, wanted: FolderSettings) -> Place | None:
        """Return where the results are of a recording that stays in place, if only our memory of that is lost."""
        if not (self._ledger.is_new and wanted.keep_in_place):
            return None
        place = self._finisher.place_of(known.path, known.sha256, known.identity or "", whatever_was_edited=True)
        there = place.identity(RAW) is not None and (place.identity(CORRECTED) is not None or not wanted.corrects)
        return place if there and not place.path(FAILED).exists() else None

    def _write_heard(self, recording: Recording, heard: Output) -> None:
        flight, known = recording.flight, recording.known
        assert flight is not None and known is not None and flight.job_id is not None  # noqa: S101, PT018 - for the type checker
        wanted = recording.folder.settings_of(recording.path.parent)
        self._finisher.write_heard(recording.folder.root, known, flight.job_id, heard, wanted)
        recording.heard_of = flight.job_id
        recording.calm()

    def _write(self, recording: Recording) -> None:
        flight, known = recording.flight, recording.known
        assert flight is not None and known is not None and flight.outcome is not None  # noqa: S101, PT018 - for the type checker
        wanted = recording.folder.settings_of(recording.path.parent)
        ending = self._finisher.write(recording.folder.root, known, flight.outcome, wanted)
        self._flights.leave(flight, recording.path)
        recording.flight = None
        recording.calm()
        if isinstance(flight.outcome, Failed):
            recording.known = replace(known, identity=None, stem=None)
            recording.stage = Stage.FAILED
            recording.trouble = flight.outcome.message
            self._tell(recording, wanted, ending, "failed", f"{recording.path.name} failed: {flight.outcome.message}")
        else:
            self._done(recording, wanted, ending)

    def _done(self, recording: Recording, wanted: FolderSettings, ending: Ending) -> None:
        recording.stage, recording.finished_by, recording.known = Stage.FINISHED, wanted, None
        if ending.archived is not None:
            self.recordings.pop(recording.path, None)
            self._stillness.forget(recording.path)
        self._tell(recording, wanted, ending, "finished", f"{recording.path.name} is transcribed.")

    def _tell(self, recording: Recording, wanted: FolderSettings, ending: Ending, event: str, message: str) -> None:
        results = "\n".join(shown(path) for path in ending.files)
        where = shown(ending.archived or recording.path)
        self._notifier.tell(wanted.notify, {"event": event, "recording": where, "message": shown(message), "results": results})
