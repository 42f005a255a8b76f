"""What the tab key offers, and what ``--version`` says."""

from __future__ import annotations

import importlib.metadata
import json
import platform

import pytest

from app.jobs.record import JobKind, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.settings import Settings
from tests.conftest import RedisServer
from tests.integration.command import mlx_local


def offered(settings: Settings, *words: str, **environment: str) -> list[str]:
    """Return what bash would offer for the last of *words*."""
    asked = {"_MLX_LOCAL_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(("mlx-local", *words)), "COMP_CWORD": str(len(words))}
    done = mlx_local(settings, **asked, **environment)
    assert done.stderr == ""
    return done.stdout.split()


def submit(store: JobStore) -> str:
    new = NewJob(kind=JobKind.CHAT, model="tiny-chat", lane=Lane.BATCH, request={"messages": []}, waited=False)
    return store.submit(new, max_queued=100).job_id


@pytest.mark.parametrize("command", [("chat", "-m"), ("embed", "--model"), ("jobs", "list", "--model")])
def test_models_are_offered_by_every_name(api_settings: Settings, command: tuple[str, ...]) -> None:
    assert offered(api_settings, *command, "tiny") == ["tiny-chat", "tiny-embed"]
    assert offered(api_settings, *command, "litt") == ["little"]
    assert offered(api_settings, *command, "chat") == ["chat"]


def test_jobs_are_offered_where_something_can_be_done_with_them(settings: Settings, store: JobStore) -> None:
    ended, waiting = submit(store), submit(store)
    store.cancel(ended)

    assert offered(settings, "jobs", "show", "job_") == [waiting, ended]
    assert offered(settings, "jobs", "show", ended[:10]) == [ended]
    assert offered(settings, "jobs", "cancel", "j") == offered(settings, "jobs", "watch", "j") == [waiting]
    assert offered(settings, "jobs", "retry", "j") == [ended]


def test_what_cannot_be_read_is_not_offered(settings: Settings, redis_server: RedisServer) -> None:
    assert offered(settings, "chat", "-m", "x", MLX_LOCAL_PORT="none") == []
    redis_server.freeze()
    assert offered(settings, "jobs", "show", "job_") == []
    redis_server.thaw()
    redis_server.kill()
    assert offered(settings, "jobs", "show", "job_") == []


def test_the_versions_of_what_matters_are_printed(settings: Settings) -> None:
    lines = dict(line.split(None, 1) for line in mlx_local(settings, "--version").stdout.splitlines())

    assert lines["mlx"] == importlib.metadata.version("mlx")
    assert {"mlx-local", "python", "mlx-lm", "mlx-vlm", "mlx-embeddings", "dramatiq"} <= set(lines)
    assert "Valkey" in lines["redis-server"] or "Redis" in lines["redis-server"]


def test_the_same_versions_are_there_for_programs(settings: Settings) -> None:
    lines = [line.split(None, 1) for line in mlx_local(settings, "--version").stdout.splitlines()]
    told = json.loads(mlx_local(settings, "--json", "--version").stdout)

    assert [[name, version or "not installed"] for name, version in told.items()] == lines
    assert told["python"] == platform.python_version()
