"""From the GPU thread to Redis, without ever making the GPU wait.

Engines emit events; a thread of its own collects tokens and publishes them in
one round trip every few milliseconds, the first ones of a job at once. While
Redis is away, events gather here and nothing is lost. A run learns of its end
only after its last tokens are published, so a reader of the stream sees the
tokens before the end.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.actors.runs import Run, Runs
from app.engines.hearing import Heard, Spans
from app.engines.protocols import Embedded, Event, Failed, Finished, Tokens
from app.engines.ranking import Ranked
from app.engines.speaking import Sound, Spoken
from app.errors import StoreUnavailable
from app.jobs.calls import CallDelta
from app.jobs.channel_order import Turn, runs_of
from app.jobs.logprobs import TokenLogprob
from app.jobs.streams import Piece, SoundPiece
from app.log import get_logger

if TYPE_CHECKING:
    from app.actors.observing import Observer
    from app.jobs.store import JobStore

__all__ = ["EventSink"]

log = get_logger("worker.sink")

_FLUSH_S = 0.02
_RETRY_S = 0.25


@dataclass(slots=True)
class _New:
    """What one work has produced since the last publication."""

    ids: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    reasonings: list[str] = field(default_factory=list)
    calls: list[CallDelta] = field(default_factory=list)
    runs: list[Turn] = field(default_factory=list)

    def add(self, event: Tokens) -> None:
        self.ids += event.ids
        self.texts.append(event.text)
        self.logprobs += event.logprobs
        self.reasonings.append(event.reasoning)
        self.calls += event.calls
        self.runs += event.runs or runs_of(event.reasoning, event.text, event.calls)

    def piece(self, run: Run, choice: int) -> Piece:
        run.pieces += 1
        text, reasoning = "".join(self.texts), "".join(self.reasonings)
        claim = run.claim
        return Piece(claim.id, claim.token, self.ids, text, choice, self.logprobs, reasoning, self.calls, self.runs, run.pieces)


@dataclass(slots=True)
class _Batch:
    tokens: dict[str, _New] = field(default_factory=dict)  # by work id
    sent: list[tuple[Run, int, _New, Piece]] = field(default_factory=list)  # not answered yet: they are repeated as they are
    sounds: list[Sound] = field(default_factory=list)
    endings: list[Finished | Embedded | Ranked | Heard | Spoken | Failed] = field(default_factory=list)


class EventSink:
    """Publishes what engines emit.

    Args:
        store: The job store.
        runs: Who emitted what for whom.
        lost: Called with each run whose record is not ours any more.
        observer: Shown every event, with the moment at which it came.
    """

    def __init__(self, store: JobStore, runs: Runs, lost: Callable[[Run], None], observer: Observer) -> None:
        self._store = store
        self._runs = runs
        self._lost = lost
        self._observer = observer
        self._events: deque[tuple[float, Event]] = deque()
        self._arrived = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="event-sink", daemon=True)

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def stop(self) -> None:
        """Publish what is left, if Redis answers, and end the thread."""
        self._stopping = True
        self._arrived.set()
        self._thread.join(timeout=5)

    def emit(self, event: Event) -> None:
        """Take an event. Never blocks."""
        self._events.append((time.perf_counter(), event))
        self._arrived.set()

    def _run(self) -> None:
        batch = _Batch()
        last_flush = 0.0
        while True:
            self._arrived.wait()
            self._arrived.clear()
            urgent = self._collect(batch)
            if not urgent and not self._stopping:
                # Not urgent: let more tokens gather, so that a step of 32 streams is one round trip.
                pause = _FLUSH_S - (time.monotonic() - last_flush)
                if pause > 0:
                    time.sleep(pause)
                    self._collect(batch)
            while not self._flush(batch):
                if self._stopping:
                    return
                time.sleep(_RETRY_S)
                self._collect(batch)
            last_flush = time.monotonic()
            batch = _Batch()
            if self._stopping and not self._events:
                return

    def _collect(self, batch: _Batch) -> bool:
        """Move what arrived into *batch*; return whether somebody is waiting for it."""
        urgent = False
        while self._events:
            at, event = self._events.popleft()
            known = self._runs.get(event.id)
            if known is None:
                continue  # withdrawn meanwhile
            self._observer.saw(*known, event, at)
            if isinstance(event, Tokens):
                batch.tokens.setdefault(event.id, _New()).add(event)
                run, number = known
                urgent |= not run.choices[number].begun
                run.choices[number].begun = True
            elif isinstance(event, Spans):
                known[0].spans.set_result(event)
            elif isinstance(event, Sound):
                batch.sounds.append(event)
                urgent = True
            elif isinstance(event, Finished | Embedded | Ranked | Heard | Spoken | Failed):
                batch.endings.append(event)
                urgent = True
        return urgent

    def _flush(self, batch: _Batch) -> bool:
        while batch.sent or batch.tokens:
            if not self._publish(batch):
                return False
        if batch.sounds and not self._publish_sound(batch):
            return False
        for ending in batch.endings:
            if known := self._runs.get(ending.id):
                run, number = known
                run.settle(number, ending)
        return True

    def _publish(self, batch: _Batch) -> bool:
        if not batch.sent:
            known = [(*found, new) for work_id, new in batch.tokens.items() if (found := self._runs.get(work_id))]
            batch.sent = [(run, number, new, new.piece(run, number)) for run, number, new in known]
            batch.tokens.clear()
        try:
            stale = self._store.publish_tokens(piece for *_, piece in batch.sent)
        except StoreUnavailable:
            log.warning("sink.buffering", jobs=len(batch.sent))
            return False
        for run, number, new, _ in batch.sent:
            choice = run.choices[number]
            choice.text += new.texts
            choice.logprobs += new.logprobs
            choice.reasoning += new.reasonings
            choice.calls += new.calls
            if run.claim.id in stale:
                self._lost(run)
        batch.sent.clear()
        return True

    def _publish_sound(self, batch: _Batch) -> bool:
        runs: list[Run] = []
        pieces: list[tuple[str, str, SoundPiece]] = []
        said: dict[tuple[str, int], int] = {}  # of this batch: it may have to be published again
        for sound in batch.sounds:
            if known := self._runs.get(sound.id):
                run, _ = known
                offset = said.get((sound.id, sound.sentence), run.said.get(sound.sentence, 0))
                said[sound.id, sound.sentence] = offset + len(sound.pcm)
                piece = SoundPiece(sentence=sound.sentence, offset=offset, rate=sound.rate, last=sound.last, pcm=sound.pcm)
                runs.append(run)
                pieces.append((run.claim.id, run.claim.token, piece))
        try:
            stale = self._store.publish_sound(pieces)
        except StoreUnavailable:
            log.warning("sink.buffering", jobs=len(runs))
            return False
        for run, (job_id, _, piece) in zip(runs, pieces, strict=True):
            run.said[piece.sentence] = piece.offset + len(piece.pcm)
            if job_id in stale:
                self._lost(run)
        batch.sounds.clear()
        return True
