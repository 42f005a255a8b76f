"""Engines that read rows of tokens once and write none: rows of many requests joined into micro-batches of similar length.

A micro-batch is one slice. Requests take turns in beginning one, so a request
of a few rows passes between the slices of one with hundreds. Padding is on the
right and lengths are rounded up, so that shapes repeat: memory of every shape
seen would otherwise add up. What is computed of a row, and told of a request,
is for those to say who build on this.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from app.engines.device import on_cpu, release_memory, trim_cache
from app.engines.faults import LIBRARY_ERRORS, NOT_FINITE, engine_failed
from app.engines.pace import Pace
from app.engines.protocols import EmbeddingWork, Event, Failed, Work
from app.engines.ranking import RerankWork
from app.engines.rotation import Rotation
from app.errors import EngineFailed
from app.models.footprint import BATCH_TOKENS, BATCH_TOKENS_CPU

__all__ = ["MicroBatchEngine", "Padded", "padded_length"]

_KEEP_FREED_BYTES = 64 * 1024**2

W = TypeVar("W", EmbeddingWork, RerankWork)


@dataclass(slots=True)
class _Request(Generic[W]):
    """A request, and what has been computed of its rows."""

    work: W
    alone: bool
    missing: dict[int, int]  # rows still to read, in order -> their padded lengths
    values: dict[int, npt.NDArray[np.float32]] = field(default_factory=dict)
    broken: bool = False  # what was computed of a row is no number

    def take(self, index: int, value: npt.NDArray[np.float32]) -> None:
        """Take what was computed of a row."""
        del self.missing[index]
        self.values[index] = value
        self.broken = self.broken or not bool(np.isfinite(value).all())


@dataclass(frozen=True, slots=True)
class _MicroBatch(Generic[W]):
    """Rows that one slice reads, all padded to *length*."""

    length: int
    rows: tuple[tuple[_Request[W], int], ...]

    @property
    def requests(self) -> list[_Request[W]]:
        return list({request.work.id: request for request, _ in self.rows}.values())


@dataclass(frozen=True, slots=True)
class Padded(Generic[W]):
    """The rows of one slice, as a model takes them."""

    ids: mx.array  # shape (rows, tokens), int32, padded on the right
    lengths: mx.array  # shape (rows,), int32: tokens of each row without padding
    of: tuple[tuple[W, int], ...]  # whose each row is, and which of theirs


class MicroBatchEngine(ABC, Generic[W]):
    """An :class:`~app.engines.protocols.Engine` for work that is rows of tokens."""

    def __init__(self, takes: type[W], *, slots: int, pad: int = 0, longest: int | None = None) -> None:
        """Begin empty.

        Args:
            takes: The work it is for.
            slots: Requests at once.
            pad: The token that rows are padded with.
            longest: Tokens that a row may have with its padding; None: no row has too many.
        """
        self.slots = slots
        self._takes: type[W] = takes
        self._pad = pad
        self._longest = longest
        most = BATCH_TOKENS_CPU if on_cpu() else BATCH_TOKENS
        self._pace = Pace(start=1024, least=128, most=most)  # tokens of a micro-batch, padding included
        self._waiting: deque[_Request[W]] = deque()
        self._turns: Rotation[_Request[W]] = Rotation(lambda request: request.work.patient)  # the first begins the next micro-batch

    @abstractmethod
    def _compute(self, batch: Padded[W]) -> mx.array:
        """Return what the model makes of *batch*, shape (rows, …), float32; NaN where that is nothing."""

    @abstractmethod
    def _concluded(self, work: W, values: npt.NDArray[np.float32]) -> Event:
        """Return the end of *work*, given what :meth:`_compute` made of each of its rows in order."""

    @abstractmethod
    def _drop(self) -> None:
        """Drop the weights."""

    def add(self, work: Work) -> None:
        """Take *work*.

        Raises:
            TypeError: It is not what this engine is for.
        """
        if not isinstance(work, self._takes):
            msg = f"{type(self).__name__} does not take {type(work).__name__}"
            raise TypeError(msg)
        self._waiting.append(_Request(work, work.alone, {index: self._length(len(row)) for index, row in enumerate(work.rows)}))

    def cancel(self, work_id: str) -> None:
        """Forget *work_id*."""
        self._waiting = deque(request for request in self._waiting if request.work.id != work_id)
        for request in [request for request in self._turns if request.work.id == work_id]:
            self._turns.leave(request)

    @property
    def has_work(self) -> bool:
        """Whether ``step`` would do anything."""
        return bool(self._waiting or len(self._turns))

    def stepping(self) -> Sequence[str]:
        """Return the requests that have rows in the next micro-batch."""
        return [request.work.id for request in self._plan().requests] if self.has_work else []

    def step(self) -> Sequence[Event]:
        """Read one micro-batch."""
        if not self.has_work:
            return []
        batch = self._plan()
        self._turns.pass_on()
        started = time.perf_counter()
        try:
            values = self._values(batch)
        except LIBRARY_ERRORS as error:
            return self._recover(batch.requests, error)
        self._pace.record(len(batch.rows) * batch.length, time.perf_counter() - started)
        trim_cache(_KEEP_FREED_BYTES)
        for (request, index), value in zip(batch.rows, values, strict=True):
            request.take(index, value)
        return [event for request in batch.requests if (event := self._outcome(request)) is not None]

    def close(self) -> None:
        """Drop the weights."""
        self._waiting.clear()
        self._turns.clear()
        self._drop()
        release_memory()

    def _plan(self) -> _MicroBatch[W]:
        """Admit who may enter and choose the rows of the next micro-batch. Asked twice, it chooses the same."""
        while self._waiting and len(self._turns) < self.slots:
            kept_apart = self._waiting[0].alone or any(request.alone for request in self._turns)
            if kept_apart and self._turns:
                break
            self._turns.join(self._waiting.popleft())
        first = self._turns.first
        turns = sorted(self._turns, key=lambda request: request is not first)
        length = next(iter(turns[0].missing.values()))
        queues = [(request, deque(index for index, its in request.missing.items() if its == length)) for request in turns]
        rows: list[tuple[_Request[W], int]] = []
        while any(queue for _, queue in queues) and (not rows or (len(rows) + 1) * length <= self._pace.size):
            request, queue = queues.pop(0)
            queues.append((request, queue))
            if queue:
                rows.append((request, queue.popleft()))
        return _MicroBatch(length, tuple(rows))

    def _length(self, tokens: int) -> int:
        length = padded_length(tokens)
        return length if self._longest is None else max(tokens, min(length, self._longest))

    def _values(self, batch: _MicroBatch[W]) -> npt.NDArray[np.float32]:
        ids = np.full((len(batch.rows), batch.length), self._pad, dtype=np.int32)
        rows = [request.work.rows[index] for request, index in batch.rows]
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        lengths = mx.array([len(row) for row in rows], dtype=mx.int32)
        values = self._compute(Padded(mx.array(ids), lengths, tuple((request.work, index) for request, index in batch.rows)))
        mx.eval(values)
        return np.array(values)

    def _outcome(self, request: _Request[W]) -> Event | None:
        """Return what came of *request*, None while rows are missing; one that has ended leaves the engine."""
        if request.missing and not request.broken:
            return None
        self._turns.leave(request)
        if request.broken:
            return Failed(request.work.id, EngineFailed(NOT_FINITE))
        return self._concluded(request.work, np.stack([request.values[index] for index in range(len(request.work.rows))]))

    def _recover(self, requests: Sequence[_Request[W]], error: BaseException) -> list[Event]:
        """Take up work after a slice raised: the one request in it fails; of several, each is tried by itself."""
        if len(requests) == 1:
            self._turns.leave(requests[0])
            return [Failed(requests[0].work.id, engine_failed(error))]
        for request in reversed([*self._turns]):
            request.alone = request.alone or request in requests
            self._waiting.appendleft(request)
        self._turns.clear()
        return []


def padded_length(tokens: int) -> int:
    """Return *tokens* rounded up so that few lengths occur and at most a quarter of a long row is padding."""
    step = max(16, 1 << max(0, tokens.bit_length() - 3))
    return -(-tokens // step) * step
