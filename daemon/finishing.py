"""The end of a recording: results on disk, then its move into the archive.

What was heard is written as soon as it is known, the rest when the correction
is done. The order makes a kill harmless at any moment: what is going to be
written is remembered, then the words that the model was unsure of, what was
heard, and what was corrected are written, and then alone the recording moves.
Whatever of it is done already is found on disk and not done again.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from app.log import get_logger
from daemon.front_matter import read_head
from daemon.hot_words import gather
from daemon.ledger import Half, Known, Ledger
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

    def write_heard(self, root: Path, known: Known, job_id: str, heard: Output, wanted: FolderSettings) -> None:
        """Write what was heard of a recording that is still being corrected; otherwise as :meth:`write`.

        Where it has a pair of an earlier asking, that stays whole until the new one is.
        """
        if signature_of(known.path) != known.signature:
            raise Changed
        identity = known.identity or ""
        place = self.place_of(known.path, known.sha256, identity)
        if not place.path(CORRECTED).exists():
            self._ledger.keep_half(known.path, Half(place.stem, identity))
            origin = _origin(known, job_id, heard, self._duplicate_of(root, known))
            self._write_heard(place, identity, heard, origin, wanted)
            log.info("recording.heard", path=shown(known.path), job=job_id)

    def add_subtitles(self, known: Known, wanted: FolderSettings) -> None:
        """Write subtitles that are wanted since a recording was done, from what is remembered of it; none that were there once."""
        place = Place(known.path.parent, known.stem or "")
        asked = [(place.path(suffix), made) for suffix, made in _subtitles(wanted)]
        missing = [(path, made) for path, made in asked if not path.exists() and not self._ledger.ever_wrote(path)]
        outcome = self._ledger.transcribed(known.identity or "") if missing and place.identity(RAW) == known.identity else None
        if outcome is not None:
            for path, made in missing:
                self._put(path, made(outcome.output))

    def archive(self, root: Path, known: Known, wanted: FolderSettings, place: Place) -> Ending:
        """Move a recording whose results are written to where it belongs; otherwise as :meth:`write`."""
        place.path(FAILED).unlink(missing_ok=True)
        target = None
        self._ledger.forget_half(known.path)
        self._ledger.forget_replaced(known.path, known.sha256)  # for it may be back
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

    def _write_results(self, root: Path, known: Known, outcome: Transcribed, wanted: FolderSettings, place: Place) -> None:
        identity = known.identity or ""
        duplicate_of = self._duplicate_of(root, known)
        origin = _origin(known, outcome.job_id, outcome.output, duplicate_of)
        if duplicate_of is None:
            gather(root, [str(word) for word in outcome.output.get("uncertain_words") or ()], self._mark)
        self._write_heard(place, identity, outcome.output, origin, wanted)
        if outcome.output.get("corrected") is not None and place.identity(CORRECTED) != identity:
            self._put(place.path(CORRECTED), corrected_text(outcome.output, origin, timestamps=wanted.timestamps))
        elif outcome.output.get("corrected") is None and place.identity(CORRECTED) is not None:
            place.path(CORRECTED).unlink()  # of an earlier asking, and untouched since, or this would not be its place
        self._ledger.keep_source(identity, self._ledger.source_of(identity) or known.path)

    def _duplicate_of(self, root: Path, known: Known) -> str | None:
        """Return which other recording had the same transcript first."""
        first = self._ledger.source_of(known.identity or "")
        if first is None or first == known.path:
            return None
        return shown(first.relative_to(root) if first.is_relative_to(root) else first)

    def _write_heard(self, place: Place, identity: str, output: Output, origin: Origin, wanted: FolderSettings) -> None:
        head, path = read_head(place.path(RAW)) or {}, place.path(RAW)
        of_another_job = head.get("job") != origin.job_id and untouched(path, self._ledger.wrote)  # that is gone: its words are not these
        if head.get("identity") != identity or of_another_job:
            self._put(place.path(RAW), raw_text(output, origin, timestamps=wanted.timestamps))
        for suffix, made in _subtitles(wanted):
            path = place.path(suffix)
            if not path.exists() or untouched(path, self._ledger.wrote):
                self._put(path, made(output))

    def _write_failure(self, known: Known, failed: Failed, wanted: FolderSettings, place: Place) -> Ending:
        origin = _origin(known, failed.job_id, failed.raw or {}, None)
        if failed.raw is not None:
            self._ledger.keep_half(known.path, Half(place.stem, origin.identity))
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


def _subtitles(wanted: FolderSettings) -> list[tuple[str, Callable[[Output], str]]]:
    """Return which subtitles are wanted, and what makes them."""
    return [(suffix, made) for suffix, asked, made in ((SRT, wanted.srt, as_srt), (VTT, wanted.vtt, as_vtt)) if asked]


def _origin(known: Known, job_id: str | None, output: Output, duplicate_of: str | None) -> Origin:
    warnings = [str(warning) for warning in output.get("warnings") or ()]
    now = datetime.now(UTC).astimezone()
    return Origin(shown(known.path.name), known.sha256, known.identity or "", now, job_id, duplicate_of, warnings)
