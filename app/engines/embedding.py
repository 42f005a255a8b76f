"""The engine that embeds: texts of many requests, in micro-batches."""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn

from app.engines.checkpoint import Checkpoint
from app.engines.embeddings_library import embed, load_lazily
from app.engines.faults import LIBRARY_ERRORS
from app.engines.loading import evaluate_in_slices, load_failed
from app.engines.micro_batches import MicroBatchEngine, Padded
from app.engines.pooling import Pooling, unit_rows
from app.engines.protocols import Embedded, EmbeddingWork, Event

__all__ = ["EmbeddingEngine", "load_embedding_engine"]


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


class EmbeddingEngine(MicroBatchEngine[EmbeddingWork]):
    """An :class:`~app.engines.protocols.Engine` for :class:`~app.engines.protocols.EmbeddingWork`."""

    def __init__(self, model: nn.Module, *, slots: int, pooling: Pooling) -> None:
        super().__init__(EmbeddingWork, slots=slots)
        self._model = model
        self._pooling = pooling

    def _compute(self, batch: Padded[EmbeddingWork]) -> mx.array:
        """Return the unit vectors of *batch*, shape (rows, width); NaN where there is none."""
        return unit_rows(embed(self._model, batch.ids, batch.lengths, self._pooling))

    def _concluded(self, work: EmbeddingWork, values: npt.NDArray[np.float32]) -> Event:
        return Embedded(work.id, values, prompt_tokens=sum(len(row) for row in work.rows))

    def _drop(self) -> None:
        del self._model
