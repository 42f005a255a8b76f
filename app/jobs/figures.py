"""What the store and the workers tell of themselves at one moment, for ``/metrics``: read in a few round trips, however many jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, cast

from pydantic import BaseModel

from app.jobs import keys
from app.jobs.connection import store_errors
from app.jobs.decoding import ModelState
from app.jobs.series import LE, SUM, Cell

if TYPE_CHECKING:
    from app.jobs.reading import JobReader, QueueHead

__all__ = ["Figures", "WorkerFigures", "read_figures"]


class WorkerFigures(BaseModel, frozen=True):
    """What a living worker says of its process, its memory and its models; None or 0: nothing."""

    home: str
    started_at: float
    budget_bytes: int | None = None
    used_bytes: int | None = None
    memory_short: bool = False
    cpu_s: float = 0.0
    resident_bytes: int = 0
    threads: int = 0
    open_files: int = 0
    downloads: int = 0
    download_bytes_per_s: float = 0.0
    models: Mapping[str, ModelState] = {}


class Figures(NamedTuple):
    """All of it."""

    queues: Mapping[str, int]  # every queue ever used, and how many jobs wait there
    heads: Mapping[str, QueueHead]  # of those where any wait
    standing: Mapping[tuple[str, str], int]  # kind, state -> jobs
    numbers: Mapping[Cell, float]  # what has been counted since the store was made
    workers: tuple[WorkerFigures, ...]  # those that live
    used_bytes: int  # by Redis


def read_figures(store: JobReader) -> Figures:
    """Read them.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    with store_errors():
        queues, heads = store.queues(), store.backlogs()
        pipe = store.client.pipeline(transaction=False)
        pipe.hgetall(keys.STANDING)
        pipe.hgetall(keys.METRICS)
        pipe.smembers(keys.WORKERS)
        standing, numbers, workers = pipe.execute()
        for worker in (ids := sorted(workers)):
            pipe.hgetall(keys.worker(worker))
            pipe.hgetall(keys.models_of(worker))
        said = cast("list[dict[str, str]]", pipe.execute()) if ids else []
        return Figures(
            queues,
            heads,
            {cast("tuple[str, str]", tuple(field.split(":", 1))): int(count) for field, count in standing.items()},
            {_cell(field): float(number) for field, number in numbers.items()},
            tuple(_worker(facts, models) for facts, models in zip(said[::2], said[1::2], strict=True) if facts),
            store.used_bytes(),
        )


def _cell(field: str) -> Cell:
    name, *labels = json.loads(field)
    if labels[-2:-1] == [LE]:
        return Cell(name, tuple(labels[:-2]), *labels[-2:])
    if labels[-1:] == [SUM]:
        return Cell(name, tuple(labels[:-1]), SUM)
    return Cell(name, tuple(labels))


def _worker(facts: Mapping[str, str], models: Mapping[str, str]) -> WorkerFigures:
    states = {model: ModelState.model_validate_json(text) for model, text in models.items()}
    return WorkerFigures.model_validate({**facts, "models": states})
