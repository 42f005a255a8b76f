"""How quick answers were: what the jobs that ended lately tell of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.jobs.record import JobState

if TYPE_CHECKING:
    from app.jobs.moves_log import Ended

__all__ = ["WINDOW_S", "Figures", "ModelFigures", "figures_of"]

WINDOW_S = 900.0
_BUCKET_S = 15.0
_AT_LEAST_S = 0.01  # under so long an answer's rate says nothing


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """What one model did."""

    model: str
    ended: int
    failed: int
    median_wait_s: float | None  # to the first claim, as the others of jobs that succeeded and are no part of another
    median_s: float | None  # from submission to end
    slow_s: float | None  # 95 of 100 took less
    tokens_per_s: float | None  # median of the answers'


@dataclass(frozen=True, slots=True)
class Figures:
    """What all of them did in the window."""

    models: Sequence[ModelFigures]
    rates: Sequence[float]  # tokens a second in each bucket of the window, oldest first
    tokens_per_s: float  # of the last full bucket and the one that is going on


def figures_of(ended: Iterable[Ended], now: float) -> Figures:
    """Return the figures of the window that ends *now*, busiest model first."""
    lately = [job for job in ended if job.finished_at > now - WINDOW_S]
    by_model: dict[str, list[Ended]] = {}
    for job in lately:
        by_model.setdefault(job.model, []).append(job)
    models = sorted((_of_model(model, jobs) for model, jobs in by_model.items()), key=lambda one: (-one.ended, one.model))
    # Buckets begin at round times, so that one that is over keeps its height.
    first = math.floor((now - WINDOW_S) / _BUCKET_S) + 1
    sums = [0] * (round(WINDOW_S / _BUCKET_S))
    for job in lately:
        place = math.floor(job.finished_at / _BUCKET_S) - first
        if 0 <= place < len(sums):
            sums[place] += job.output_tokens
    going_on_s = now - math.floor(now / _BUCKET_S) * _BUCKET_S
    return Figures(models, [tokens / _BUCKET_S for tokens in sums], sum(sums[-2:]) / (_BUCKET_S + going_on_s))


def _of_model(model: str, jobs: Sequence[Ended]) -> ModelFigures:
    good = [job for job in jobs if job.state is JobState.SUCCEEDED and job.parent is None]
    took = sorted(job.finished_at - job.created_at for job in good)
    waited = sorted(job.started_at - job.created_at for job in good if job.started_at)
    rates = sorted(job.output_tokens / job.run_s for job in jobs if job.output_tokens and job.run_s > _AT_LEAST_S)
    failed = sum(job.state is JobState.FAILED for job in jobs)
    return ModelFigures(model, len(jobs), failed, _at(waited, 0.5), _at(took, 0.5), _at(took, 0.95), _at(rates, 0.5))


def _at(values: Sequence[float], share: float) -> float | None:
    """Return the value that *share* of the sorted *values* do not exceed."""
    return values[min(len(values) - 1, math.ceil(share * len(values)) - 1)] if values else None
