"""The engine that hears: finds speech in recordings and writes chunks of them down.

Those who are in take turns, a slice each, so a short recording passes between the
slices of a long one, and what somebody waits for before the rest. Nobody shares a
slice, so company changes no text and a failure concerns one alone. A chunk enters
when the ledger has room for all that its model may keep of it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mlx import nn

from app.audio.pcm import duration_s
from app.engines.chunk import hear_chunk
from app.engines.device import release_memory, trim_cache
from app.engines.faults import LIBRARY_ERRORS, RequestTooLarge, engine_failed
from app.engines.hearing import Heard, Span, Spans, SpansWork, TranscriptionWork
from app.engines.ledger import KvAccount
from app.engines.listening import Listener
from app.engines.loading import evaluate_in_slices, load_failed
from app.engines.protocols import Event, Failed, Tokens, Work
from app.engines.rotation import Rotation
from app.errors import InferenceError

__all__ = ["Detector", "HearingEngine", "load_hearing_engine", "whole_recording"]

Detector = Callable[[Path], Generator[None, None, tuple[Span, ...]]]
"""Finds speech in a pcm file: one bounded slice between any two yields, then the spans."""

_KEEP_FREED_BYTES = 64 * 1024**2
_SLICE_S = 0.05  # a slice goes on with a next token until this has passed


def whole_recording(audio: Path) -> Generator[None, None, tuple[Span, ...]]:
    """Take everything for speech: the detector of those who have none."""
    yield
    length_s = duration_s(audio)
    return ((0.0, length_s),) if length_s else ()


def load_hearing_engine(
    name: str,
    load: Callable[[], nn.Module],
    listener: Callable[[nn.Module], Listener],
    *,
    slots: int,
    detector: Callable[[], Detector],
    chunk_bytes: int = 0,
    account: KvAccount | None = None,
) -> Iterator[HearingEngine | None]:
    """Load a model in slices; the last thing yielded is its engine.

    Args:
        name: Of the model's folder, for the error.
        load: Returns the model with weights not yet read.
        listener: Makes its listener.
        slots: As :class:`HearingEngine` has it.
        detector: Loads what finds speech.
        chunk_bytes: As :class:`HearingEngine` has it.
        account: As :class:`HearingEngine` has it.

    Raises:
        ModelLoadFailed: The weights do not fit the configuration, or cannot be read.
    """
    model: nn.Module | None = None
    try:
        model = load()
        yield None
        for _ in evaluate_in_slices(model):
            yield None
        found, heard = detector(), listener(model)
    except LIBRARY_ERRORS as error:
        model = None
        raise load_failed(name, error) from None
    model = None
    yield HearingEngine(heard, slots=slots, detector=found, chunk_bytes=chunk_bytes, account=account)


class _Turn(NamedTuple):
    """Somebody who is in the engine, and the rest of what is to be done."""

    work: SpansWork | TranscriptionWork
    rest: Generator[Tokens | None, None, Heard | Spans]


class HearingEngine:
    """An :class:`~app.engines.protocols.Engine` for :class:`SpansWork` and :class:`TranscriptionWork`.

    Args:
        listener: The model.
        slots: How many take turns.
        detector: Finds speech.
        chunk_bytes: What the model may keep of a chunk.
        account: Where that is reserved; None: nowhere.
    """

    def __init__(
        self, listener: Listener, *, slots: int, detector: Detector, chunk_bytes: int = 0, account: KvAccount | None = None
    ) -> None:
        self.slots = slots
        self._listener = listener
        self._detector = detector
        self._chunk_bytes = chunk_bytes
        self._account = account
        self._waiting: deque[SpansWork | TranscriptionWork] = deque()
        self._turns: Rotation[_Turn] = Rotation(lambda turn: turn.work.patient)

    def add(self, work: Work) -> None:
        """Take *work*.

        Raises:
            TypeError: It is nothing to hear.
            RequestTooLarge: What the model keeps of a chunk never fits here.
        """
        if not isinstance(work, SpansWork | TranscriptionWork):
            msg = f"an engine that hears does not take {type(work).__name__}"
            raise TypeError(msg)
        account = self._account
        if account is not None and account.most_bytes is not None and self._cost(work) > account.most_bytes:
            raise RequestTooLarge(account.owner, self._cost(work), account.most_bytes)
        self._waiting.append(work)

    def cancel(self, work_id: str) -> None:
        """Forget *work_id* and what the model keeps of it."""
        self._waiting = deque(work for work in self._waiting if work.id != work_id)
        for turn in [turn for turn in self._turns if turn.work.id == work_id]:
            self._leave(turn)
        if not any(self._cost(work) for work in self._waiting):
            self._withdraw()

    @property
    def has_work(self) -> bool:
        """Whether ``step`` would do anything."""
        return bool(self._turns or self._waiting)

    @property
    def wanted_bytes(self) -> int:
        """How much higher the ledger's limit must be before a chunk fits at all."""
        if self._account is None or self._turns or not any(self._cost(work) for work in self._waiting):
            return 0
        return max(0, self._chunk_bytes - self._account.ledger.limit_bytes)

    def stepping(self) -> Sequence[str]:
        """Return whose turn it is."""
        self._admit()
        return [turn.work.id] if (turn := self._turns.first) else []

    def step(self) -> Sequence[Event]:
        """Do one slice of the one whose turn it is."""
        self._admit()
        if (turn := self._turns.first) is None:
            return []
        self._turns.pass_on()
        ends_at = time.perf_counter() + _SLICE_S
        said: list[Event] = []
        try:
            while time.perf_counter() < ends_at:
                if (tokens := next(turn.rest)) is not None:
                    said.append(tokens)
        except StopIteration as ending:
            said.append(ending.value)
            self._leave(turn)
        except InferenceError as error:
            said.append(Failed(turn.work.id, error))
            self._leave(turn)
        except LIBRARY_ERRORS as error:
            said.append(Failed(turn.work.id, engine_failed(error)))
            self._leave(turn)
        trim_cache(_KEEP_FREED_BYTES)
        return said

    def close(self) -> None:
        """Drop the weights and what is kept of chunks."""
        self._waiting.clear()
        for turn in list(self._turns):
            self._leave(turn)
        if self._account is not None:
            self._account.ledger.release(self._account.owner)
        self._listener.close()
        del self._listener, self._detector
        release_memory()

    def _admit(self) -> None:
        """Let in those at the head of the line while there are slots and room. Asked twice, it lets in no more."""
        while self._waiting and len(self._turns) < self.slots:
            work = self._waiting[0]
            if not self._reserve(self._held_bytes() + self._cost(work)):
                return
            self._waiting.popleft()
            self._turns.join(_Turn(work, self._begin(work)))

    def _begin(self, work: SpansWork | TranscriptionWork) -> Generator[Tokens | None, None, Heard | Spans]:
        return hear_chunk(work, self._listener) if isinstance(work, TranscriptionWork) else _find(work, self._detector)

    def _leave(self, turn: _Turn) -> None:
        turn.rest.close()
        self._turns.leave(turn)
        self._reserve(self._held_bytes())

    def _cost(self, work: SpansWork | TranscriptionWork) -> int:
        return self._chunk_bytes if isinstance(work, TranscriptionWork) else 0

    def _held_bytes(self) -> int:
        return sum(self._cost(turn.work) for turn in self._turns)

    def _reserve(self, total_bytes: int) -> bool:
        """Make *total_bytes* what all who are in may keep; where there is no room, note that somebody waits for it."""
        if self._account is None:
            return True
        ledger, owner = self._account.ledger, self._account.owner
        if ledger.reserve(owner, total_bytes, claimed=total_bytes > ledger.reserved_of(owner)):
            return True
        ledger.claim(owner, self._chunk_bytes)
        return False

    def _withdraw(self) -> None:
        if self._account is not None:
            self._account.ledger.withdraw(self._account.owner)


def _find(work: SpansWork, detector: Detector) -> Generator[None, None, Spans]:
    spans = yield from detector(work.audio)
    return Spans(work.id, spans)
