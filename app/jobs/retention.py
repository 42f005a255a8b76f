"""How long and how much is kept of what has ended, as the machine that has the jobs wants it.

That machine says it in Redis. Workers of other machines forget jobs by that, and never by settings of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

from pydantic import BaseModel

from app.jobs import keys
from app.jobs.connection import store_errors

if TYPE_CHECKING:
    import redis

    from app.settings import Settings

__all__ = ["Retention"]


class Retention(BaseModel, frozen=True):
    """What is kept."""

    keep_waited_s: float
    keep_submitted_s: float
    keep_finished: int  # jobs
    max_redis_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what the settings of a home say."""
        return cls(
            keep_waited_s=settings.keep_waited.total_seconds(),
            keep_submitted_s=settings.keep_submitted.total_seconds(),
            keep_finished=settings.keep_finished,
            max_redis_bytes=int(settings.max_redis_bytes),
        )

    @classmethod
    def said(cls, client: redis.Redis) -> Self | None:
        """Return what the machine that has the jobs has said; None: nothing yet.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        with store_errors():
            facts = cast("dict[str, str]", client.hgetall(keys.RETENTION))
        return cls.model_validate(facts) if facts else None

    def say(self, client: redis.Redis) -> None:
        """Say it, on the machine that has the jobs.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        facts: dict[Any, Any] = self.model_dump()
        with store_errors():
            client.hset(keys.RETENTION, mapping=facts)
