"""The log of moves: every change of a job's state, newest ten thousand, as the store's scripts write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import redis
from pydantic import BaseModel

from app.errors import Failure
from app.jobs import keys
from app.jobs.connection import store_errors
from app.jobs.record import TERMINAL, JobKind, JobState, Lane

if TYPE_CHECKING:
    from app.jobs.reading import JobReader

__all__ = ["Ended", "latest_move", "read_ended"]

_AT_MOST = 2000
_FIELDS = ("created_at", "started_at", "finished_at", "usage", "error", "parent")


class Ended(BaseModel, frozen=True):
    """A job that has ended, and what it took. A child counts by what it made, not by how long it waited."""

    id: str
    kind: JobKind
    model: str
    lane: Lane
    state: JobState
    created_at: float  # epoch s, as are the others
    started_at: float | None
    finished_at: float
    output_tokens: int = 0
    error: Failure | None = None
    parent: str | None = None

    @property
    def run_s(self) -> float:
        """From its claim to its end; 0 of one that was never claimed."""
        return max(0.0, self.finished_at - self.started_at) if self.started_at else 0.0


class EndedSince(NamedTuple):
    """What has ended since a moment."""

    jobs: list[Ended]
    latest: str  # of the log: read on after it


def latest_move(client: redis.Redis) -> str:
    """Return the id of the newest entry: it changes with every move of a job. One round trip.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    with store_errors():
        rows = cast("list[tuple[str, Any]]", client.xrevrange(keys.EVENTS, count=1))
    return rows[0][0] if rows else "0-0"


def read_ended(reader: JobReader, after: str | None) -> EndedSince:
    """Return the jobs that ended after a cursor, oldest first; None: the last ones of all, as far as they are kept.

    Deliveries of webhooks are not among them: they are no work.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    with store_errors():
        if after is None:
            rows = cast("list[tuple[str, dict[str, str]]]", reader.client.xrevrange(keys.EVENTS, count=_AT_MOST))[::-1]
        else:
            rows = cast("list[tuple[str, dict[str, str]]]", reader.client.xrange(keys.EVENTS, min=f"({after}", count=_AT_MOST))
    ended = [move for _, move in rows if JobState(move["state"]) in TERMINAL and move["kind"] != JobKind.WEBHOOK]
    found = zip(ended, _facts(reader, [move["job"] for move in ended]), strict=True)
    jobs = [job for move, facts in found if (job := _ended(move, facts)) is not None]
    return EndedSince(jobs, rows[-1][0] if rows else after or "0-0")


def _facts(reader: JobReader, ids: Sequence[str]) -> list[dict[str, str | None]]:
    pipe = reader.client.pipeline(transaction=False)
    for job_id in ids:
        pipe.hmget(keys.job(job_id), _FIELDS)
    with store_errors():
        return [dict(zip(_FIELDS, row, strict=True)) for row in pipe.execute()]


def _ended(move: dict[str, str], facts: dict[str, str | None]) -> Ended | None:
    """Return the job of a move with its facts; None of one that is forgotten by now."""
    if not facts["finished_at"]:
        return None
    usage = _Usage.model_validate_json(facts["usage"] or "{}")
    told = {name: facts[name] for name in ("created_at", "started_at", "finished_at", "parent")}
    error = Failure.model_validate_json(facts["error"]) if facts["error"] else None
    described = {name: move[name] for name in ("kind", "model", "lane", "state")}
    return Ended.model_validate({"id": move["job"], **described, **told, "output_tokens": usage.made, "error": error})


class _Usage(BaseModel):
    completion_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def made(self) -> int:
        return self.completion_tokens or self.output_tokens or 0
