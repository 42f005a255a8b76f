"""The engine that embeds: rows of many requests joined into micro-batches of similar length.

A micro-batch is one slice. Requests take turns in beginning one, so a request
of a few texts passes between the slices of one with hundreds. Padding is on the
right and lengths are rounded up, so that shapes repeat: memory of every shape
seen would otherwise add up.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn

from app.engines.checkpoint import Checkpoint
from app.engines.device import on_cpu, release_memory, trim_cache
from app.engines.embeddings_library import embed, load_lazily
from app.engines.faults import LIBRARY_ERRORS, NOT_FINITE, engine_failed
from app.engines.loading import evaluate_in_slices, load_failed
from app.engines.pace import Pace
from app.engines.pooling import Pooling, unit_rows
from app.engines.protocols import Embedded, EmbeddingWork, Event, Failed, Work
from app.errors import EngineFailed
from app.models.footprint import BATCH_TOKENS, BATCH_TOKENS_CPU

__all__ = ["EmbeddingEngine", "load_embedding_engine", "padded_length"]

_KEEP_FREED_BYTES = 64 * 1024**2


def load_embedding_engine(checkpoint: Checkpoint, *, slots: int, pooling: Pooling) -> Iterator[EmbeddingEngine | None]:
    """Load the model in slices; the last thing yielded is its engine.

    Raises:
        ModelLoadFailed: The weights do not fit the configuration, or cannot be read.
    """
    model: nn.Module | None = None
    try:
        model = load_lazily(checkpoint.directory, pooling)
        yield None
        for _ in evaluate_in_slices(model):
            yield None
    except LIBRARY_ERRORS as error:
        model = None
        raise load_failed(checkpoint.directory.name, error) from None
    yield EmbeddingEngine(model, slots=slots, pooling=pooling)


@dataclass(slots=True)
class _Request:
    """A request, and the vectors that it has."""

    work: EmbeddingWork
    alone: bool
    vectors: dict[int, npt.NDArray[np.float32]] = field(default_factory=dict)

    def missing(self, length: int | None = None) -> list[int]:
        """Return the rows still to embed, of padded length *length* if it is given."""
        return [
            index
            for index, row in enumerate(self.work.rows)
            if index not in self.vectors and (length is None or padded_length(len(row)) == length)
        ]


@dataclass(frozen=True, slots=True)
class _MicroBatch:
    """Rows that one slice embeds, all padded to *length*."""

    length: int
    rows: tuple[tuple[_Request, int], ...]

    @property
    def requests(self) -> list[_Request]:
        return list({request.work.id: request for request, _ in self.rows}.values())


class EmbeddingEngine:
    """An :class:`~app.engines.protocols.Engine` for :class:`~app.engines.protocols.EmbeddingWork`."""

    def __init__(self, model: nn.Module, *, slots: int, pooling: Pooling) -> None:
        self.slots = slots
        self._model = model
        self._pooling = pooling
        most = BATCH_TOKENS_CPU if on_cpu() else BATCH_TOKENS
        self._pace = Pace(start=1024, least=128, most=most)  # tokens of a micro-batch, padding included
        self._waiting: deque[_Request] = deque()
        self._turns: deque[_Request] = deque()  # requests in the engine; the first begins the next micro-batch

    def add(self, work: Work) -> None:
        """Take *work*.

        Raises:
            TypeError: It is not text to embed.
        """
        if not isinstance(work, EmbeddingWork):
            msg = f"an embedding engine does not take {type(work).__name__}"
            raise TypeError(msg)
        self._waiting.append(_Request(work, work.alone))

    def cancel(self, work_id: str) -> None:
        """Forget *work_id*."""
        self._waiting = deque(request for request in self._waiting if request.work.id != work_id)
        self._turns = deque(request for request in self._turns if request.work.id != work_id)

    @property
    def has_work(self) -> bool:
        """Whether ``step`` would do anything."""
        return bool(self._waiting or self._turns)

    def stepping(self) -> Sequence[str]:
        """Return the requests that have rows in the next micro-batch."""
        return [request.work.id for request in self._plan().requests] if self.has_work else []

    def step(self) -> Sequence[Event]:
        """Embed one micro-batch."""
        if not self.has_work:
            return []
        batch = self._plan()
        self._turns.rotate(-1)
        started = time.perf_counter()
        try:
            vectors = self._vectors(batch)
        except LIBRARY_ERRORS as error:
            return self._recover(batch.requests, error)
        self._pace.record(len(batch.rows) * batch.length, time.perf_counter() - started)
        trim_cache(_KEEP_FREED_BYTES)
        for (request, index), vector in zip(batch.rows, vectors, strict=True):
            request.vectors[index] = vector
        return [event for request in batch.requests if (event := self._outcome(request)) is not None]

    def close(self) -> None:
        """Drop the weights."""
        self._waiting.clear()
        self._turns.clear()
        del self._model
        release_memory()

    def _plan(self) -> _MicroBatch:
        """Admit who may enter and choose the rows of the next micro-batch. Asked twice, it chooses the same."""
        while self._waiting and len(self._turns) < self.slots:
            kept_apart = self._waiting[0].alone or any(request.alone for request in self._turns)
            if kept_apart and self._turns:
                break
            self._turns.append(self._waiting.popleft())
        first = self._turns[0]
        index = first.missing()[0]
        length = padded_length(len(first.work.rows[index]))
        queues = [(request, deque(request.missing(length))) for request in self._turns]
        rows: list[tuple[_Request, int]] = []
        while any(queue for _, queue in queues) and (not rows or (len(rows) + 1) * length <= self._pace.size):
            request, queue = queues.pop(0)
            queues.append((request, queue))
            if queue:
                rows.append((request, queue.popleft()))
        return _MicroBatch(length, tuple(rows))

    def _vectors(self, batch: _MicroBatch) -> npt.NDArray[np.float32]:
        """Return the unit vectors of *batch*, shape (rows, width); NaN where there is none."""
        ids = np.zeros((len(batch.rows), batch.length), dtype=np.int32)
        for place, (request, index) in enumerate(batch.rows):
            row = request.work.rows[index]
            ids[place, : len(row)] = row
        lengths = mx.array([len(request.work.rows[index]) for request, index in batch.rows], dtype=mx.int32)
        vectors = unit_rows(embed(self._model, mx.array(ids), lengths, self._pooling))
        mx.eval(vectors)
        return np.array(vectors)

    def _outcome(self, request: _Request) -> Event | None:
        """Return what came of *request*, None while rows are missing; one that has ended leaves the engine."""
        broken = any(not np.isfinite(vector).all() for vector in request.vectors.values())
        if not broken and len(request.vectors) < len(request.work.rows):
            return None
        self._turns.remove(request)
        if broken:
            return Failed(request.work.id, EngineFailed(NOT_FINITE))
        rows = np.stack([request.vectors[index] for index in range(len(request.work.rows))])
        return Embedded(request.work.id, rows, prompt_tokens=sum(len(row) for row in request.work.rows))

    def _recover(self, requests: Sequence[_Request], error: BaseException) -> list[Event]:
        """Take up work after a slice raised: the one request in it fails; of several, each is tried by itself."""
        if len(requests) == 1:
            self._turns.remove(requests[0])
            return [Failed(requests[0].work.id, engine_failed(error))]
        for request in reversed(self._turns):
            request.alone = request.alone or request in requests
            self._waiting.appendleft(request)
        self._turns.clear()
        return []


def padded_length(tokens: int) -> int:
    """Return *tokens* rounded up so that few lengths occur and at most a quarter of a long row is padding."""
    step = max(16, 1 << max(0, tokens.bit_length() - 3))
    return -(-tokens // step) * step
