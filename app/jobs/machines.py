"""What workers had when they were last heard of, so that jobs wait for one that is away instead of failing for want of it.

By home, not by worker: one that is started again is the same machine. A home
that was not heard of for a day is forgotten.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ValidationError

from app.jobs import keys
from app.jobs.connection import store_errors

if TYPE_CHECKING:
    import redis

    from app.jobs.reading import JobReader

__all__ = ["Machine", "forget_machines", "queue_machine", "read_absent"]

_AWAITED_S = 24 * 3600.0


class Machine(BaseModel, frozen=True):
    """One home, as its worker said."""

    seen_at: float  # epoch s, by the clock of Redis
    budget_bytes: int | None  # what its models may use together
    has: dict[str, int]  # models that it could load, and the free bytes that a load needs


def queue_machine(pipe: Any, home: str, machine: Machine) -> None:  # noqa: ANN401 - a redis pipeline
    """Add to *pipe* that a home was heard of."""
    pipe.hset(keys.MACHINES, home, machine.model_dump_json())


def read_absent(store: JobReader, living: Collection[str]) -> dict[str, Machine]:
    """Return the homes that may come back: heard of within a day, and none of *living*.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    return {home: machine for home, machine in _read(store.client).items() if home not in living and machine.seen_at > _oldest(store)}


def forget_machines(store: JobReader) -> int:
    """Forget the homes that nobody waits for any more; return how many.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    gone = [home for home, machine in _read(store.client).items() if machine.seen_at <= _oldest(store)]
    with store_errors():
        return store.client.hdel(keys.MACHINES, *gone) if gone else 0


def _oldest(store: JobReader) -> float:
    with store_errors():
        return store.now() - _AWAITED_S


def _read(client: redis.Redis) -> dict[str, Machine]:
    with store_errors():
        said = cast("dict[str, str]", client.hgetall(keys.MACHINES))
    return {home: _decoded(text) for home, text in said.items()}


def _decoded(text: str) -> Machine:
    try:
        return Machine.model_validate_json(text)
    except ValidationError:  # of another version of this software
        return Machine(seen_at=0.0, budget_bytes=None, has={})
