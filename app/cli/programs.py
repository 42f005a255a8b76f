"""The process table of ``up``: which programs, in which order, and how each shows that it serves."""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.cli.child import Program
from app.cli.entry import SUPERVISOR
from app.cli.stopping import DRAIN_ORDER, REDIS_STOP_S, stop_limit_s
from app.errors import InferenceError
from app.folder_state import recordings_standing
from app.internal_key import authorization

if TYPE_CHECKING:
    import redis

    from app.settings import Settings

__all__ = ["get_status", "local_host", "missing_for_chat", "process_table", "redis_answers"]

_PROBE_TIMEOUT_S = 2.0


def process_table(settings: Settings, store_client: redis.Redis) -> list[Program]:
    """Return the programs of a whole stack: the bundled Redis unless there is another, both APIs, the worker, the daemon."""
    ready: dict[str, Callable[[int], bool]] = {
        "redis": lambda _: redis_answers(store_client),
        "api": lambda _: get_status(settings, settings.port, "/health") == http.HTTPStatus.OK,
        "audio": lambda _: get_status(settings, settings.audio_port, "/health") == http.HTTPStatus.OK,
        "worker": lambda pid: _worker_registered(settings, store_client, pid),
        "daemon": lambda pid: recordings_standing(settings).get("pid") == pid,
    }
    if settings.redis_url:
        del ready["redis"]
    return [
        Program(
            name=name,
            # The same entry points that launchd and systemd run.
            command=(sys.executable, "-P", "-m", "app.cli.main", name),
            environment={SUPERVISOR: str(os.getpid()), "PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"},
            ready=check,
            start_stage=0 if name == "redis" else 1,
            drain_stage=next(stage for stage, names in enumerate(DRAIN_ORDER) if name in names),
            drain_s=stop_limit_s(settings, name),
            impatient_s=REDIS_STOP_S if name == "redis" else 0.0,
        )
        for name, check in ready.items()
    ]


def redis_answers(client: redis.Redis) -> bool:
    """Return whether Redis serves; not yet while it reads its file."""
    from redis import RedisError

    try:
        return bool(client.ping())
    except (RedisError, OSError):
        return False


def get_status(settings: Settings, port: int, path: str) -> int | None:
    """Return the HTTP status of ``GET`` *path* on one of our ports, None while nothing answers."""
    return _get(settings, port, path)[0]


def missing_for_chat(settings: Settings) -> str:
    """Return what ``/ready`` says is missing, nothing if a chat can be answered."""
    status, body = _get(settings, settings.port, "/ready")
    if status == http.HTTPStatus.OK:
        return ""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"/ready answers {status}."


def _get(settings: Settings, port: int, path: str) -> tuple[int | None, bytes]:
    connection = http.client.HTTPConnection(local_host(settings), port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path, headers=authorization(settings))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return None, b""
    finally:
        connection.close()


def local_host(settings: Settings) -> str:
    """Return the address at which a process of this machine reaches the APIs."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound


def _worker_registered(settings: Settings, client: redis.Redis, pid: int) -> bool:
    """Return whether the worker with this process id has written its heartbeat."""
    from redis import RedisError

    from app.jobs.reading import JobReader
    from app.jobs.spool import Spool

    try:
        workers = JobReader(client, Spool(settings.spool_dir)).workers()
    except (InferenceError, RedisError):
        return False
    return any(worker.pid == pid and worker.host == socket.gethostname() for worker in workers)
