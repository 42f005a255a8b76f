"""``mlx-local doctor`` on this machine, with nothing running and with things that are wrong."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.cli.ownership import claim_process
from app.jobs.connection import connect
from app.settings import Settings, load_settings
from tests.conftest import RedisServer
from tests.integration.command import COMMAND, environment, mlx_local
from tests.integration.conftest import Api


@pytest.fixture
def nobody(private_folder: Path) -> Settings:
    """Settings of a home where nothing runs, with free ports."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        ports = {"port": first.getsockname()[1], "audio_port": second.getsockname()[1]}
    return load_settings(home=private_folder / "home", profile="starter", min_free_disk=0, **ports)


def examined(settings: Settings, **environment: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit code and the checks by name."""
    done = mlx_local(settings, "doctor", "--json", **{"HF_HUB_OFFLINE": "1", "MLX_LOCAL_MIN_FREE_DISK": "0", **environment})
    answer = json.loads(done.stdout)
    checks = {check["name"]: check for check in answer["checks"]}
    assert all(check["mend"] for check in checks.values() if check["status"] != "ok")
    assert sum(answer["counts"].values()) == len(answer["checks"]) == len(checks)
    return done.returncode, checks


def test_nothing_is_wrong_where_nothing_runs_yet(nobody: Settings) -> None:
    code, checks = examined(nobody)

    assert code == 0
    assert not [check for check in checks.values() if check["status"] == "failed"]
    assert checks["mlx"]["found"].startswith("MLX ")
    assert "bundled; it does not run now" in checks["redis"]["found"]
    assert checks[f"port {nobody.port} (api)"]["found"] == "free"
    assert not nobody.home.exists()  # it only looks


def test_what_is_found_is_a_table_for_people(nobody: Settings) -> None:
    lines = mlx_local(nobody, "doctor", HF_HUB_OFFLINE="1", MLX_LOCAL_MIN_FREE_DISK="0").stdout.splitlines()

    assert lines[0].split() == ["CHECK", "STATUS", "FOUND"]
    assert "checks" in lines[-1]


def test_a_port_that_somebody_else_has_is_a_failure_that_names_the_setting(nobody: Settings) -> None:
    with socket.create_server(("127.0.0.1", nobody.audio_port)):
        code, checks = examined(nobody)
    check = checks[f"port {nobody.audio_port} (audio)"]

    assert code == 1
    assert check["status"] == "failed"
    assert check["found"].startswith("taken by ")
    assert "MLX_LOCAL_AUDIO_PORT" in check["mend"]


def test_the_home_of_another_machines_worker_is_not_examined_for_what_it_has_not(nobody: Settings) -> None:
    joins = {"MLX_LOCAL_API_URL": "http://127.0.0.1:9", "MLX_LOCAL_REDIS_URL": "redis://127.0.0.1:9", "MLX_LOCAL_HOST": "203.0.113.1"}
    with socket.create_server(("127.0.0.1", nobody.port)):
        _, checks = examined(nobody, **joins)
    assert {name for name in checks if name.startswith(("port", "keys", "folder"))} == {
        "folder home", "folder logs", "folder run", "folder models", "folder fetched",
    }  # fmt: skip
    assert {name for name, check in checks.items() if check["status"] == "failed"} == {"redis", "api of the jobs"}


def test_a_port_of_ours_is_well(nobody: Settings, api_settings: Settings, start_api: Callable[[Settings], Api]) -> None:
    api = start_api(api_settings)
    lock = claim_process(api_settings.run_dir, "api", None)  # this test's process serves, as the real one would
    code, checks = examined(api_settings.model_copy(update={"port": api.port, "audio_port": nobody.audio_port}))
    os.close(lock)

    assert checks[f"port {api.port} (api)"]["found"].startswith("ours: process ")
    assert checks["locks"]["found"].startswith("services own the home: api ")
    assert code == 0


def test_a_redis_of_yours_is_asked_for_what_it_promises(settings: Settings, nobody: Settings, redis_server: RedisServer) -> None:
    settings = settings.model_copy(update={"port": nobody.port, "audio_port": nobody.audio_port})
    _, checks = examined(settings)

    assert checks["redis"]["status"] == checks["redis eviction"]["status"] == "ok"
    assert checks["redis persistence"]["found"] == "append-only file, appendfsync everysec"
    redis_server.kill()
    code, checks = examined(settings)
    assert code == 1
    assert "does not answer" in checks["redis"]["found"]


def test_a_redis_that_may_lose_jobs_is_a_failure(settings: Settings, nobody: Settings, redis_server: RedisServer) -> None:
    with connect(settings) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("appendonly", "no")
    code, checks = examined(settings.model_copy(update={"port": nobody.port, "audio_port": nobody.audio_port}))

    assert code == 1
    assert checks["redis eviction"]["status"] == checks["redis persistence"]["status"] == "failed"
    assert "appendonly yes" in checks["redis persistence"]["mend"]


def test_a_redis_that_answers_nobody_is_waited_for_no_longer_than_others(
    settings: Settings, nobody: Settings, redis_server: RedisServer
) -> None:
    redis_server.freeze()
    try:
        _, checks = examined(settings.model_copy(update={"port": nobody.port, "audio_port": nobody.audio_port}))
    finally:
        redis_server.thaw()

    assert "TimeoutError" in checks["redis"]["found"]


def test_the_bundled_redis_is_looked_at_where_it_runs(nobody: Settings) -> None:
    with subprocess.Popen([*COMMAND, "redis"], env=environment(nobody)) as server:
        with closing(connect(nobody, retries=100)) as client:
            client.ping()
        code, checks = examined(nobody)
        server.terminate()

    assert code == 0
    assert f"bundled, process {server.pid}" in checks["redis"]["found"]
    assert "no worker runs to sync it" in checks["redis persistence"]["found"]
    assert checks["locks"]["found"] == f"services own the home: redis ({server.pid})"


def test_what_an_up_that_was_killed_left_is_warned_of(nobody: Settings) -> None:
    lock = claim_process(nobody.run_dir, "worker", supervisor=1)
    code, checks = examined(nobody)
    os.close(lock)

    assert (code, checks["locks"]["status"]) == (0, "warning")
    assert f"worker ({os.getpid()})" in checks["locks"]["found"]
    assert "mlx-local stop" in checks["locks"]["mend"]


def test_one_check_that_cannot_be_made_does_not_keep_the_others_from_it(nobody: Settings) -> None:
    (nobody.run_dir / "processes" / "api.lock").mkdir(parents=True)  # nobody can open that, root included
    code, checks = examined(nobody)

    assert code == 1
    assert checks["locks"]["found"].startswith("could not be checked: ")
    assert checks["catalog"]["status"] == "ok"


def test_folders_that_others_may_write_into_are_warned_of(nobody: Settings) -> None:
    nobody.run_dir.mkdir(parents=True)
    nobody.run_dir.chmod(0o777)
    nobody.logs_dir.write_text("no folder")
    code, checks = examined(nobody)

    assert checks["folder run"]["status"] == "warning"
    assert "chmod go-w" in checks["folder run"]["mend"]
    assert (code, checks["folder logs"]["status"]) == (1, "failed")


def test_a_wrong_setting_is_one_failure_and_the_machine_is_checked_all_the_same(nobody: Settings) -> None:
    code, checks = examined(nobody, MLX_LOCAL_PORT="99999")

    assert code == 1
    assert "MLX_LOCAL_PORT" in checks["settings"]["found"]
    assert {"python", "mlx", "memory", "hub"} <= set(checks)


def test_a_catalog_that_cannot_be_read_is_a_failure(nobody: Settings, private_folder: Path) -> None:
    file = private_folder / "catalog.toml"
    file.write_text("[[model]]\nid = 3\n")
    code, checks = examined(nobody.model_copy(update={"catalog": file}))

    assert code == 1
    assert str(file) in checks["catalog"]["found"]
    assert checks["redis"]["status"] == "ok"


def test_a_hub_that_never_answers_is_a_warning(nobody: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://user:secret@127.0.0.1:{silent.getsockname()[1]}"
        code, checks = examined(nobody, HF_HUB_OFFLINE="0", HF_ENDPOINT=endpoint, no_proxy="127.0.0.1")

    assert code == 0
    assert checks["hub"]["status"] == "warning"
    assert "secret" not in json.dumps(checks)
