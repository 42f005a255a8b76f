"""The end of a recording: results on disk, then its move into the archive.

The order makes a kill harmless at any moment: what is going to be written is
remembered, then the words that the model was unsure of, what was heard, and
what was corrected are written, and then alone the recording moves. Whatever
of it is done already is found on disk and not done again.
"""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from app.log import get_logger
from daemon.hot_words import gather
from daemon.ledger import Known, Ledger
from daemon.naming import CORRECTED, FAILED, RAW, SRT, VTT, shown
from daemon.outcome import Failed, Outcome, Output, Transcribed
from daemon.results import Place, find_place, untouched
from daemon.signature import Changed, signature_of
from daemon.subtitles import as_srt, as_vtt
from daemon.texts import Origin, corrected_text, failed_text, raw_text
from daemon.writing import archive_place, move, was_copied, write_whole

if TYPE_CHECKING:
    from daemon.folder_settings import FolderSettings

__all__ = ["Ending", "Finisher"]

log = get_logger("daemon")


@dataclass(frozen=True, slots=True)
class Ending:
    """What was done about a recording."""

    files: tuple[Path, ...]  # that it has now
    archived: Path | None = None


class Finisher:
    """Writes results and moves recordings."""

    def __init__(self, ledger: Ledger, home_mark: str) -> None:
        self._ledger = ledger
        self._mark = home_mark

    def place_of(self, path: Path, sha256: str, identity: str, *, whatever_was_edited: bool = False) -> Place:
        """Return where the results of a recording are, or are to be; otherwise as :func:`daemon.results.find_place`."""
        return find_place(path, sha256, identity, (lambda *_: True) if whatever_was_edited else self._ledger.wrote)

    def write(self, root: Path, known: Known, outcome: Outcome, wanted: FolderSettings) -> Ending:
        """Write what came of a recording, and archive it if it succeeded.

        Raises:
            Changed: The recording is not what it was; nothing was archived.
            OSError: Something cannot be written; what is written stays, and it may be tried again.
        """
        if signature_of(known.path) != known.signature:
            raise Changed
        assert known.identity is not None  # noqa: S101 - for the type checker: it was asked for
        place = self.place_of(known.path, known.sha256, known.identity)
        known = replace(known, stem=place.stem)
        self._ledger.keep(known)
        if isinstance(outcome, Failed):
            return self._write_failure(known, outcome, wanted, place)
        self._write_results(root, known, outcome, wanted, place)
        return self.archive(root, known, wanted, place)

    def archive(self, root: Path, known: Known, wanted: FolderSettings, place: Place) -> Ending:
        """Move a recording whose results are written to where it belongs; otherwise as :meth:`write`."""
        place.path(FAILED).unlink(missing_ok=True)
        target = None
        self._ledger.forget_failure(known.path)
        self._ledger.forget_replaced(known.path)  # for it may be back
        if wanted.keep_in_place:
            self._ledger.keep(replace(known, stem=place.stem, finished=True))
        else:
            target = known.target
            if target is None or not was_copied(known.path, target, known.signature, known.sha256):
                target = archive_place(root, known.path)
                self._ledger.keep(replace(known, stem=place.stem, target=target))
                move(known.path, target, known.signature, self._mark)
            self._ledger.forget(known.path)
        files = tuple(path for suffix in (RAW, CORRECTED, SRT, VTT) if (path := place.path(suffix)).exists())
        log.info("recording.finished", path=shown(known.path), archived=shown(target) if target else None)
        return Ending(files, target)

    def settle(self, known: Known, *, elsewhere: bool) -> None:
        """Clear up after a recording that is gone from where it was.

        Args:
            known: What was remembered of it.
            elsewhere: The same content is here under another name and gets results of its own. A whole pair of one that is
                nowhere stays: it is all there is of it.
        """
        if not _is_finished(known):
            if known.stem is not None and known.identity is not None:
                place = Place(known.path.parent, known.stem)
                if elsewhere or self._is_part(place, known.identity):
                    self._remove(place, known.identity)
            if (left := self._ledger.left_by_failure(known.path)) is not None:
                place = Place(known.path.parent, left[0])
                if place.identity(CORRECTED) is None:
                    self._remove(place, left[1])
        self._ledger.forget(known.path)

    def settle_replaced(self, known: Known) -> None:
        """Clear up after a recording in whose place another lies now. Its pair stays until it is known whether it is elsewhere."""
        if not _is_finished(known):
            self._ledger.keep_replaced(known)
        self.settle(known, elsewhere=False)

    def remove_replaced(self, known: Known) -> None:
        """Remove the pairs of recordings with the content of *known* that others replaced: this one gets results of its own."""
        for path, stem, identity in self._ledger.replaced_of(known.sha256):
            if path != known.path:
                self._remove(Place(path.parent, stem), identity)

    def _is_part(self, place: Place, identity: str) -> bool:
        """Return whether the second half of a pair was never written."""
        outcome = self._ledger.transcribed(identity)
        corrected = outcome is not None and outcome.output.get("corrected") is not None
        return corrected and place.identity(RAW) == identity != place.identity(CORRECTED)

    def _remove(self, place: Place, identity: str) -> None:
        for suffix in (RAW, CORRECTED):
            path = place.path(suffix)
            if place.identity(suffix) == identity and untouched(path, self._ledger.wrote):
                path.unlink()
                for subtitles in (SRT, VTT) if suffix == RAW else ():
                    if untouched(place.path(subtitles), self._ledger.wrote):
                        place.path(subtitles).unlink()

    def _write_results(self, root: Path, known: Known, outcome: Transcribed, wanted: FolderSettings, place: Place) -> None:
        identity = known.identity or ""
        first = self._ledger.source_of(identity)
        duplicate_of = None if first in {None, known.path} else _seen_from(root, first)
        origin = _origin(known, outcome.job_id, outcome.output, duplicate_of)
        if duplicate_of is None:
            gather(root, [str(word) for word in outcome.output.get("uncertain_words") or ()], self._mark)
        self._write_heard(place, identity, outcome.output, origin, wanted)
        if outcome.output.get("corrected") is not None and place.identity(CORRECTED) != identity:
            self._put(place.path(CORRECTED), corrected_text(outcome.output, origin, timestamps=wanted.timestamps))
        elif outcome.output.get("corrected") is None and place.identity(CORRECTED) is not None:
            place.path(CORRECTED).unlink()  # of an earlier asking, and untouched since, or this would not be its place
        self._ledger.keep_source(identity, known.path)

    def _write_heard(self, place: Place, identity: str, output: Output, origin: Origin, wanted: FolderSettings) -> None:
        if place.identity(RAW) != identity:
            self._put(place.path(RAW), raw_text(output, origin, timestamps=wanted.timestamps))
        for suffix, asked, made in ((SRT, wanted.srt, as_srt), (VTT, wanted.vtt, as_vtt)):
            path = place.path(suffix)
            if asked and (not path.exists() or untouched(path, self._ledger.wrote)):
                self._put(path, made(output))

    def _write_failure(self, known: Known, failed: Failed, wanted: FolderSettings, place: Place) -> Ending:
        origin = _origin(known, failed.job_id, failed.raw or {}, None)
        if failed.raw is not None:
            self._ledger.keep_failure(known.path, place.stem, origin.identity)
            self._write_heard(place, origin.identity, failed.raw, origin, wanted)
        command = f"mlx-local transcribe --retry {shlex.quote(shown(known.path))}"
        self._put(place.path(FAILED), failed_text(failed, origin, command))
        self._ledger.keep(replace(known, identity=None, stem=None))  # the mark says it now, and the settings may change
        log.warning("recording.failed", path=shown(known.path), step=failed.step, code=failed.code, job=failed.job_id)
        return Ending(tuple(path for suffix in (RAW, FAILED) if (path := place.path(suffix)).exists()))

    def _put(self, path: Path, text: str) -> None:
        content = text.encode("utf-8", "replace")
        self._ledger.keep_written(path, hashlib.sha256(content).hexdigest())
        write_whole(path, content, self._mark)


def _is_finished(known: Known) -> bool:
    return known.finished or (known.target is not None and signature_of(known.target) == known.signature)


def _origin(known: Known, job_id: str | None, output: Output, duplicate_of: str | None) -> Origin:
    warnings = [str(warning) for warning in output.get("warnings") or ()]
    now = datetime.now(UTC).astimezone()
    return Origin(shown(known.path.name), known.sha256, known.identity or "", now, job_id, duplicate_of, warnings)


def _seen_from(root: Path, path: Path | None) -> str | None:
    if path is None:
        return None
    return shown(path.relative_to(root) if path.is_relative_to(root) else path)
