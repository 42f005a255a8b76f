"""The command line's way to the job store: straight to Redis, so it works while the API is down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from app.cli.terminal import NOT_RUNNING, CommandError
from app.errors import StoreUnavailable

if TYPE_CHECKING:
    from app.jobs.store import JobStore
    from app.settings import Settings

__all__ = ["job_store"]


@contextmanager
def job_store(settings: Settings, *, timeout_s: float | None = None) -> Iterator[JobStore]:
    """Open the store for one command.

    Args:
        settings: Say where it is.
        timeout_s: How long one answer may take; None: as long as a command may wait.

    Raises:
        CommandError: No Redis answers; exit code 3 and what to do.
        NewerSchema: Its records are of a later version.
    """
    import redis

    from app.jobs.connection import connect
    from app.jobs.spool import Spool
    from app.jobs.store import JobStore

    # A command's answer is wanted now; one retry covers a connection that just went stale.
    client = connect(settings, retries=1, timeout_s=timeout_s)
    try:
        store = JobStore(client, Spool(settings.spool_dir))
        store.check_schema()
        yield store
    except (StoreUnavailable, redis.ConnectionError, redis.TimeoutError):
        if settings.redis_url:
            msg = "The job store does not answer: the Redis of MLX_LOCAL_REDIS_URL is not reachable."
        else:
            msg = f"The job store does not answer: nothing runs for the home {settings.home}. Start it with `mlx-local up`."
        raise CommandError(msg, NOT_RUNNING) from None
    except redis.RedisError as error:
        msg = f"The job store refused: {error}"
        raise CommandError(msg) from None
    finally:
        client.close()
