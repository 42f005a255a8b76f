"""The engine that ranks: a query with each of its documents is a row, and rows are read in micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn

from app.engines.checkpoint import Checkpoint
from app.engines.faults import LIBRARY_ERRORS
from app.engines.loading import evaluate_in_slices, load_failed
from app.engines.micro_batches import MicroBatchEngine, Padded
from app.engines.protocols import Event
from app.engines.ranking import Ranked, RerankWork
from app.engines.reranking_library import RerankerKind, classify, judge, load_lazily

__all__ = ["RerankEngine", "Verdict", "classified", "judged", "load_rerank_engine"]

Verdict = Callable[[nn.Module, Padded[RerankWork]], mx.array]
"""Scores of the rows of a slice, shape (rows,), float32, 0 to 1."""


def judged(yes: int, no: int) -> Verdict:
    """Return the verdict of a model that answers with one of two tokens."""
    return partial(_judged, yes=yes, no=no)


def _judged(model: nn.Module, batch: Padded[RerankWork], *, yes: int, no: int) -> mx.array:
    return judge(model, batch.ids, batch.lengths, yes=yes, no=no)


def classified(model: nn.Module, batch: Padded[RerankWork]) -> mx.array:
    """Return the scores of a model with a head of one number."""
    documents_at = mx.array([work.documents_at[index] for work, index in batch.of], dtype=mx.int32)
    return classify(model, batch.ids, batch.lengths, documents_at)


def load_rerank_engine(
    checkpoint: Checkpoint, kind: RerankerKind, verdict: Verdict, *, slots: int, pad: int, longest: int
) -> Iterator[RerankEngine | None]:
    """Load the model in slices; the last thing yielded is its engine.

    Raises:
        ModelLoadFailed: The weights do not fit the configuration, or cannot be read.
    """
    model: nn.Module | None = None
    try:
        model = load_lazily(checkpoint.directory, checkpoint.config, kind)
        yield None
        for _ in evaluate_in_slices(model):
            yield None
    except LIBRARY_ERRORS as error:
        model = None
        raise load_failed(checkpoint.directory.name, error) from None
    yield RerankEngine(model, verdict, slots=slots, pad=pad, longest=longest)


class RerankEngine(MicroBatchEngine[RerankWork]):
    """An :class:`~app.engines.protocols.Engine` for :class:`~app.engines.ranking.RerankWork`."""

    def __init__(self, model: nn.Module, verdict: Verdict, *, slots: int, pad: int = 0, longest: int | None = None) -> None:
        """Take over *model*; see :class:`MicroBatchEngine` for the rest.

        Args:
            model: A loaded reranker.
            verdict: How it scores.
            slots: Requests at once.
            pad: The model's padding token.
            longest: Places that the model has.
        """
        super().__init__(RerankWork, slots=slots, pad=pad, longest=longest)
        self._model = model
        self._verdict = verdict

    def _compute(self, batch: Padded[RerankWork]) -> mx.array:
        return self._verdict(self._model, batch)

    def _concluded(self, work: RerankWork, values: npt.NDArray[np.float32]) -> Event:
        return Ranked(work.id, values, prompt_tokens=sum(len(row) for row in work.rows))

    def _drop(self) -> None:
        del self._model
