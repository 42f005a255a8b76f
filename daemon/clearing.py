"""Clearing up after recordings that are gone from where they were, or in whose place another lies now.

What is half done goes with its recording. A whole pair stays, since it may be
all there is of the recording, unless the same content turns up under another
name and gets a pair of its own; until that is known the pair is remembered.
What somebody edited is never removed.
"""

from __future__ import annotations

from app.log import get_logger
from daemon.ledger import Known, Ledger, LedgerUnavailable
from daemon.naming import CORRECTED, RAW, SRT, VTT, shown
from daemon.results import Place, untouched
from daemon.signature import signature_of

__all__ = ["Clearing"]

log = get_logger("daemon")


class Clearing:
    """Removes what nobody will finish."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def clear_if_gone(self, known: Known) -> None:
        """Clear up after a recording if it is gone, or another lies there now. What cannot be looked at is neither gone nor finished."""
        try:
            if signature_of(known.path) != known.signature:
                self.clear(known)
        except LedgerUnavailable:
            raise
        except OSError as error:  # the next scan comes back to it
            log.warning("recording.not_cleared_up", path=shown(known.path), reason=error.strerror)

    def clear(self, known: Known) -> None:
        """Clear up after a recording that is not where it was."""
        if not known.is_finished:
            self._ledger.keep_replaced(known)
            if known.stem is not None and known.identity is not None:
                place = Place(known.path.parent, known.stem)
                if self._is_part(place, known.identity):
                    self._remove(place, known.identity)
            if (half := self._ledger.half_of(known.path)) is not None:
                place = Place(known.path.parent, half.stem)
                if place.identity(CORRECTED) is None:
                    self._remove(place, half.identity)
        self._ledger.forget(known.path)

    def remove_replaced(self, known: Known) -> None:
        """Remove the pairs of recordings with the content of *known* that are gone: this one gets results of its own."""
        for path, stem, identity in self._ledger.replaced_of(known.sha256):
            if path != known.path:
                self._remove(Place(path.parent, stem), identity)
                self._ledger.forget_replaced(path, known.sha256)

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
