"""All transcripts in the making: sent as many at once as the settings allow, looked at in turn, waited with while the API is away.

Everything is sent as soon as it may be, so that the scheduler sees all of it
and swaps models once, not once for each file. Uploads and looks have a few
threads; every decision is made in the daemon's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.log import get_logger
from daemon.api import Api, Away, Gone, Refused
from daemon.flight import Flight, Report, Stage, look
from daemon.outcome import Failed, Outcome, Step, Transcribed
from daemon.signature import Changed, Signature

if TYPE_CHECKING:
    from daemon.ledger import Ledger

__all__ = ["Flights"]

log = get_logger("daemon")

_UPLOADS = 2
_LOOKS = 2
_SOONEST_LOOK_S, _LATEST_LOOK_S = 0.2, 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
_PASSING_FAILURE_S = 60.0  # before a job that failed for what passes is submitted again
_GONE_S = 60.0  # that a recording may be away before its job is cancelled: it may only have been moved
_MOST_DEFECTS = 5
_FIRST_DEFECT_S = 1.0


class Flights:
    """The transcripts in the making."""

    def __init__(self, api: Api, ledger: Ledger, most: int, wake: Callable[[], None]) -> None:
        self.away = ""  # why the API cannot be used now
        self._api = api
        self._ledger = ledger
        self._most = most
        self._wake = wake
        self._flights: dict[str, Flight] = {}
        self._uploads = ThreadPoolExecutor(_UPLOADS, "upload")
        self._looks = ThreadPoolExecutor(_LOOKS, "look")
        self._sending: dict[str, tuple[Future[str], Path]] = {}
        self._looking: dict[str, Future[Report]] = {}
        self._pauses = 0
        self._resume_at_s = 0.0

    def join(self, identity: str, sha256: str, request: Mapping[str, Any], path: Path, signature: Signature) -> Flight:
        """Return the flight of *identity*, which the recording at *path* now wants too."""
        flight = self._flights.get(identity)
        if flight is None:
            flight = self._flights[identity] = Flight(identity, sha256, request)
            flight.outcome = self._ledger.transcribed(identity)
            if flight.outcome is None and (submitted := self._ledger.job_of(identity)):
                job_id, flight.request = submitted
                self._under_way(flight, job_id)
        flight.wanted_by[path] = signature
        return flight

    def leave(self, flight: Flight, path: Path) -> None:
        """Note that the recording at *path* wants it no more."""
        flight.wanted_by.pop(path, None)

    def advance(self, now_s: float) -> float:
        """Take over what threads found, start what is due; return when there is something to do again."""
        self._take_over(now_s)
        self._drop_unwanted(now_s)
        if now_s < self._resume_at_s:
            return self._resume_at_s
        self._send(now_s)
        due_s = self._look(now_s)
        unwanted = [flight.unwanted_s + _GONE_S for flight in self._flights.values() if flight.unwanted_s is not None]
        return min([due_s, *unwanted])

    def close(self) -> None:
        """Start nothing more. What runs is cut off by the end of the process."""
        self._uploads.shutdown(wait=False, cancel_futures=True)
        self._looks.shutdown(wait=False, cancel_futures=True)

    def _take_over(self, now_s: float) -> None:
        for identity, (sent, path) in list(self._sending.items()):
            if sent.done():
                del self._sending[identity]
                self._sent(self._flights[identity], sent, path, now_s)
        for identity, looked in list(self._looking.items()):
            if looked.done():
                del self._looking[identity]
                self._looked(self._flights[identity], looked, now_s)

    def _sent(self, flight: Flight, sent: Future[str], path: Path, now_s: float) -> None:
        flight.stage = Stage.WAITING
        try:
            job_id = sent.result()
        except Away as away:
            self._pause(str(away), now_s)
            flight.defects = flight.defects + 1 if away.defect else 0
            if flight.defects >= _MOST_DEFECTS:
                flight.outcome = Failed("submit", "internal_error", str(away))
        except Refused as refusal:
            self._resume()
            flight.outcome = Failed("submit", refusal.code, refusal.message)
        except (Changed, OSError):  # whoever looks at the file itself finds out what it is now
            flight.wanted_by.pop(path, None)
        except Exception as error:  # noqa: BLE001 - a defect that one recording brings out must not keep the others from going on
            self._fail(flight, "submit", error, now_s)
        else:
            self._resume()
            self._ledger.keep_job(flight.identity, job_id, flight.request)
            self._under_way(flight, job_id)
            log.info("recording.submitted", job=job_id, sha256=flight.sha256[:12])

    def _under_way(self, flight: Flight, job_id: str) -> None:
        flight.job_id, flight.stage, flight.defects = job_id, Stage.QUEUED, 0
        flight.begun_s = flight.look_at_s = time.monotonic()

    def _looked(self, flight: Flight, looked: Future[Report], now_s: float) -> None:
        flight.look_at_s = now_s + min(_LATEST_LOOK_S, max(_SOONEST_LOOK_S, (now_s - flight.begun_s) / 10))
        try:
            report = looked.result()
        except Away as away:
            self._pause(str(away), now_s)
            return
        except Exception as error:  # noqa: BLE001 - likewise
            self._fail(flight, "transcribe", error, now_s)
            return
        self._resume()
        flight.defects = 0
        if report.lost:
            self._ledger.forget_job(flight.identity)
            log.warning("job.lost", job=flight.job_id, reason=report.passing or "the API does not know it any more")
            flight.job_id, flight.stage, flight.detail, flight.heard = None, Stage.WAITING, report.passing, None
            flight.look_at_s = now_s + (_PASSING_FAILURE_S if report.passing else 0)
            return
        flight.stage, flight.progress, flight.detail = report.stage, report.progress, report.detail
        flight.heard = flight.heard or report.heard
        if report.outcome is not None:
            self._ended(flight, report.outcome)

    def _fail(self, flight: Flight, step: Step, error: Exception, now_s: float) -> None:
        """Try again after a while; give the transcript up where that helps nothing."""
        why = f"internal error ({type(error).__name__}: {error}); the log says more"
        if why != flight.detail:
            log.error("flight.defect", job=flight.job_id, sha256=flight.sha256[:12], step=step, exc_info=error)
        flight.detail, flight.defects = why, flight.defects + 1
        flight.look_at_s = now_s + _FIRST_DEFECT_S * 2**flight.defects
        if flight.defects >= _MOST_DEFECTS:
            self._ended(flight, Failed(step, "internal_error", why, flight.job_id))

    def _ended(self, flight: Flight, outcome: Outcome) -> None:
        if isinstance(outcome, Transcribed):
            self._ledger.keep_transcribed(flight.identity, outcome)
        self._ledger.forget_job(flight.identity)
        flight.outcome, flight.stage = outcome, Stage.WRITING

    def _drop_unwanted(self, now_s: float) -> None:
        for identity, flight in list(self._flights.items()):
            if flight.wanted_by or identity in self._sending or identity in self._looking:
                flight.unwanted_s = None
            elif not flight.under_way:
                del self._flights[identity]
            elif flight.unwanted_s is None:
                flight.unwanted_s = now_s
            elif now_s - flight.unwanted_s >= _GONE_S:
                log.info("job.unwanted", job=flight.job_id, reason="its recordings are gone")
                self._looks.submit(self._cancel, flight.job_id or "")
                self._ledger.forget_job(identity)
                del self._flights[identity]

    def _cancel(self, job_id: str) -> None:
        try:
            self._api.cancel(job_id)
        except (Away, Gone, Refused) as error:
            log.warning("job.not_canceled", job=job_id, reason=str(error))

    def _send(self, now_s: float) -> None:
        room = self._most - sum(flight.under_way for flight in self._flights.values()) - len(self._sending)
        for identity, flight in self._flights.items():
            if room <= 0 or len(self._sending) >= _UPLOADS:
                return
            idle = flight.job_id is None and flight.outcome is None and identity not in self._sending
            if idle and flight.wanted_by and now_s >= flight.look_at_s:
                path, signature = next(iter(flight.wanted_by.items()))
                sent = self._uploads.submit(self._api.submit, path, signature, flight.sha256, identity, flight.request)
                sent.add_done_callback(lambda _: self._wake())
                self._sending[identity] = (sent, path)
                flight.stage = Stage.SENDING
                room -= 1

    def _look(self, now_s: float) -> float:
        """Look at what is due; return when the next one is."""
        waiting = [flight for flight in self._flights.values() if flight.outcome is None and flight.identity not in self._looking]
        followed = sorted((flight for flight in waiting if flight.job_id is not None), key=lambda flight: flight.look_at_s)
        for flight in followed[: _LOOKS - len(self._looking)]:
            if flight.look_at_s <= now_s:
                corrects = "correct" in flight.request.get("stages", ())
                known = flight.heard is not None
                looked = self._looks.submit(look, self._api, flight.job_id or "", corrects=corrects, knows_heard=known)
                looked.add_done_callback(lambda _: self._wake())
                self._looking[flight.identity] = looked
        return min((flight.look_at_s for flight in waiting if flight.look_at_s > now_s), default=float("inf"))

    def _pause(self, why: str, now_s: float) -> None:
        if why != self.away:
            log.warning("api.away", reason=why)
        self.away = why
        self._resume_at_s = now_s + min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**self._pauses)
        self._pauses = min(self._pauses + 1, 10)

    def _resume(self) -> None:
        if self.away:
            log.info("api.back")
        self.away, self._pauses, self._resume_at_s = "", 0, 0.0
