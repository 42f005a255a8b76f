"""Checks of the workers that the job store knows, of this machine and of others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.cli.finding import Finding, gigabytes

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["check_workers"]

_ANSWER_S = 3.0


def check_workers(settings: Settings) -> Iterator[Finding]:
    """Check each worker's version and clock; nothing where the store does not answer, which is another check's to say."""
    import redis

    from app.errors import InvalidSetting, StoreUnavailable
    from app.jobs.connection import connect
    from app.jobs.workers import read_workers, troubles

    try:
        with contextlib.closing(connect(settings, retries=0, timeout_s=_ANSWER_S)) as client:
            workers = read_workers(client)
    except (InvalidSetting, StoreUnavailable, redis.RedisError):
        return
    for worker in workers:
        budget = "" if worker.budget_bytes is None else f", {gigabytes(worker.budget_bytes)} for models"
        name, found = f"worker {worker.id}", f"on {worker.host}, version {worker.version}{budget}"
        wrong = troubles(worker, workers)
        yield Finding.warning(name, found, " ".join(wrong)) if wrong else Finding.ok(name, found)
