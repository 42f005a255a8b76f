"""What the shell offers when the tab key is pressed after ``mlx-local``: names of models, ids of jobs.

A shell asks while somebody types, so nothing here waits long or fails: what
cannot be read is not offered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from app.cli.terminal import CommandError, settings
from app.errors import InferenceError

__all__ = ["ended_jobs", "job_ids", "living_jobs", "model_names"]

_MOST_JOBS = 50
_ANSWER_S = 0.5


def model_names(incomplete: str) -> list[str]:
    """Return roles, ids and aliases of the catalog that begin with *incomplete*."""
    from app.models.catalog import load_catalog

    with contextlib.suppress(InferenceError):
        catalog = load_catalog(settings())
        names = [*catalog.roles, *(name for spec in catalog for name in (spec.id, *spec.aliases))]
        return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]
    return []


def job_ids(incomplete: str) -> list[tuple[str, str]]:
    """Return the newest jobs, each with what it is."""
    return list(_jobs(incomplete, ended=None))


def living_jobs(incomplete: str) -> list[tuple[str, str]]:
    """Return the newest jobs that have not ended."""
    return list(_jobs(incomplete, ended=False))


def ended_jobs(incomplete: str) -> list[tuple[str, str]]:
    """Return the newest jobs that have ended."""
    return list(_jobs(incomplete, ended=True))


def _jobs(incomplete: str, *, ended: bool | None) -> Iterator[tuple[str, str]]:
    from app.cli.store_access import job_store
    from app.jobs.record import TERMINAL

    with contextlib.suppress(InferenceError, CommandError), job_store(settings(), timeout_s=_ANSWER_S) as store:
        for job in store.list_jobs(limit=_MOST_JOBS):
            if job.id.startswith(incomplete) and ended in {None, job.state in TERMINAL}:
                yield job.id, f"{job.state} {job.kind} {job.model}"
