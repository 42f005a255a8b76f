"""What is seen to before a worker starts that works on another machine's jobs: its Redis, its API and key, its clock, its home."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.cli.terminal import NOT_RUNNING, USAGE, CommandError

if TYPE_CHECKING:
    from app.jobs.blobs import ApiFacts
    from app.settings import Settings

__all__ = ["ask_api", "check_cluster", "clock_offset_s", "refuse_to_ask", "refuse_to_serve", "tell_clock"]

_MAY_DIFFER_S = 1.0


def refuse_to_serve(settings: Settings) -> None:
    """Refuse to start an API in the home of a worker of another machine: jobs of it would be in one place and media in another.

    Raises:
        CommandError: This is such a home.
    """
    if settings.api_url:
        msg = (
            f"MLX_LOCAL_API_URL is set, so this home is that of a worker for {settings.api_url}: start it with `mlx-local worker`."
            " For a stack of its own, unset it, or choose another MLX_LOCAL_HOME."
        )
        raise CommandError(msg, USAGE)


def refuse_to_ask(settings: Settings) -> None:
    """Refuse a command that asks an API, or has a job begin: what answers at this machine's port would be another one, if anything.

    Raises:
        CommandError: This is the home of a worker of another machine.
    """
    if settings.api_url:
        msg = f"This home is that of a worker for {settings.api_url}, and has no API: say this where that runs, or use a client."
        raise CommandError(msg, USAGE)


def check_cluster(settings: Settings, say: Callable[[str], None]) -> None:
    """Refuse to start a worker that could do nothing, and say what is doubtful.

    Raises:
        CommandError: Redis or the API does not answer (exit code 3), or refuses, or is the wrong one (2).
    """
    from app import __version__
    from app.cli.preparing import check_redis

    check_redis(settings, say)
    facts = ask_api(settings)
    if not _has_its_redis(settings, facts):
        msg = (
            f"The API of {settings.api_url} has its jobs in another Redis than that of MLX_LOCAL_REDIS_URL, so this worker would miss them."
        )
        raise CommandError(msg, USAGE)
    say(f"API: {settings.api_url} answers and accepts the key.")
    if facts.version != __version__:
        say(f"Warning: the API there is version {facts.version}, and this worker {__version__}; work that it does not know, it leaves.")
    tell_clock(clock_offset_s(settings), say)


def ask_api(settings: Settings) -> ApiFacts:
    """Return what the API of the cluster says of itself.

    Raises:
        CommandError: It does not answer, or refuses.
    """
    from app.errors import SpoolUnavailable
    from app.jobs.worker_api import WorkerApi

    with contextlib.closing(WorkerApi(settings)) as api:
        try:
            return api.look()
        except SpoolUnavailable as error:
            msg = f"MLX_LOCAL_API_URL ({settings.api_url}): {error.reason}"
            raise CommandError(msg, USAGE if error.lasting else NOT_RUNNING) from None


def _has_its_redis(settings: Settings, facts: ApiFacts) -> bool:
    from app.jobs.connection import connect, server_id

    with contextlib.closing(connect(settings, retries=1)) as client:
        return server_id(client) == facts.redis_id


def clock_offset_s(settings: Settings) -> float:
    """Return by how much this machine's clock is ahead of that of Redis, as well as one round trip tells."""
    from app.jobs.connection import connect

    with contextlib.closing(connect(settings, retries=1)) as client:
        client.ping()  # connected, so that what follows is one round trip
        before = time.time()
        seconds, micros = client.time()
        return (before + time.time()) / 2 - (seconds + micros / 1e6)


def tell_clock(offset_s: float, say: Callable[[str], None]) -> None:
    """Warn of a clock that is off."""
    if abs(offset_s) > _MAY_DIFFER_S:
        how = "ahead of" if offset_s > 0 else "behind"
        say(f"Warning: this machine's clock is {abs(offset_s):.1f} s {how} that of Redis; have both set theirs by the network (NTP).")
