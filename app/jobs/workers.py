"""What living workers say of themselves and of their models, and which of them is right where they differ. Reads only."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, cast

import redis
from pydantic import BaseModel, Json

from app.jobs import keys
from app.jobs.connection import store_errors
from app.jobs.decoding import ModelState
from app.jobs.work import WORK_VERSION

__all__ = ["WorkerInfo", "WorkerModels", "furthest", "lives_elsewhere", "read_workers", "read_workers_with_models", "troubles"]

_CLOCK_OFF_S = 1.0  # a clock that is further off is told of
_RANK = {"resident": 4, "loading": 3, "waiting": 2, "downloading": 1, "failed": 0}
_LEFT_TO_OTHERS = -1  # whatever the others say comes before it


class WorkerInfo(BaseModel, frozen=True):
    """What a living worker says of itself."""

    id: str
    home: str
    pid: int
    started_at: datetime
    version: str
    host: str = ""  # name of its machine
    remote: bool = False  # the jobs and their files are on another machine
    work_version: int = 1  # see :mod:`app.jobs.work`
    clock_offset_s: float = 0.0  # its clock minus that of Redis
    has: Json[dict[str, int]] | None = None  # models that it could load, and the free bytes that a load needs; None: it does not say
    fetches: Json[list[str]] | None = None  # models that it could download
    budget_bytes: int | None = None  # what its models may use together
    used_bytes: int | None = None  # what they use, and what a load has reserved
    taken_bytes: int = 0  # of the rest, what no load may have now: other programs use it, or are to keep it
    memory_short: bool = False  # other programs leave so little that nothing new begins
    batch_waits: str = ""  # why no batch work begins, in a word; empty: it may
    in_memory: tuple[str, ...] = ()  # models


class WorkerModels(NamedTuple):
    """A living worker, and what it says of its models."""

    worker: WorkerInfo
    models: dict[str, ModelState]


def read_workers(client: redis.Redis) -> list[WorkerInfo]:
    """Return the workers whose heartbeat has not lapsed."""
    return [found.worker for found in read_workers_with_models(client)]


def read_workers_with_models(client: redis.Redis) -> list[WorkerModels]:
    """Return the same with their models: two round trips, one where there is none.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    with store_errors():
        ids = sorted(cast("set[str]", client.smembers(keys.WORKERS)))
        pipe = client.pipeline(transaction=False)
        for worker_id in ids:
            pipe.hgetall(keys.worker(worker_id))
            pipe.hgetall(keys.models_of(worker_id))
        said = cast("list[dict[str, str]]", pipe.execute()) if ids else []
    rows = zip(ids, said[::2], said[1::2], strict=True)
    return [_worker(worker_id, facts, models) for worker_id, facts, models in rows if facts]


def lives_elsewhere(client: redis.Redis, home: str) -> bool:
    """Return whether a worker of a home of that name lives on another machine than this one.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    return any(worker.home == home and worker.host != socket.gethostname() for worker in read_workers(client))


def furthest(workers: Sequence[WorkerModels]) -> dict[str, ModelState]:
    """Return one state for each model: the furthest wins, and one that leaves the model to others says least."""
    found: dict[str, ModelState] = {}
    for worker in workers:
        for model, state in worker.models.items():
            if model not in found or _rank(state) > _rank(found[model]):
                found[model] = state
    return found


def troubles(worker: WorkerInfo, workers: Sequence[WorkerInfo]) -> list[str]:
    """Return what is wrong with one of *workers*, each in a sentence."""
    newest = max([WORK_VERSION, *(other.work_version for other in workers)])
    found = []
    if worker.work_version < newest:
        known = f"it knows work up to version {worker.work_version}, and there is version {newest}"
        found.append(f"The worker on {worker.host or worker.id} is outdated: {known}. Update it.")
    if abs(worker.clock_offset_s) > _CLOCK_OFF_S:
        which = "ahead of" if worker.clock_offset_s > 0 else "behind"
        found.append(f"The clock of {worker.host or worker.id} is {abs(worker.clock_offset_s):.1f} s {which} that of Redis. Set it by NTP.")
    return found


def _worker(worker_id: str, facts: dict[str, str], models: dict[str, str]) -> WorkerModels:
    states = {model: ModelState.model_validate_json(text) for model, text in models.items()}
    resident = sorted(model for model, state in states.items() if state.state == "resident")
    return WorkerModels(WorkerInfo.model_validate({**facts, "id": worker_id, "in_memory": resident}), states)


def _rank(state: ModelState) -> int:
    return _LEFT_TO_OTHERS if state.reason.endswith("_elsewhere") else _RANK[state.state]
