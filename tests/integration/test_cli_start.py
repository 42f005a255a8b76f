"""Starting and stopping: what keeps ``up`` from starting is one sentence, said before anything runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.ownership import hold, living, own_home, share_home
from app.cli.stopping import stop_living
from app.settings import Settings, load_settings
from tests.integration.command import mlx_local

STACK = Path(__file__).with_name("supervised_stack.py")


@pytest.fixture
def own(private_folder: Path) -> Settings:
    """Settings of an empty home with free ports and the bundled Redis."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = one.getsockname()[1], two.getsockname()[1]
    return load_settings(home=private_folder / "home", port=ports[0], audio_port=ports[1], profile="starter")


@pytest.fixture
def stack(own: Settings) -> Iterator[subprocess.Popen[str]]:
    """A supervised stack of stand-ins that owns the home as ``up`` does."""
    command = [sys.executable, str(STACK), "up", str(own.run_dir), "redis=steady", "api=steady", "worker=steady"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "READY\n":
                break
        yield process
        process.kill()
    stop_living(own.run_dir, 0.0)


def test_help_and_version_answer_without_loading_what_commands_need() -> None:
    program = """
import sys
from app.cli import main
code = main.main()
heavy = {"mlx", "numpy", "transformers", "dramatiq", "redis", "httpx", "fastapi", "uvicorn", "pydantic_settings", "huggingface_hub"}
sys.exit(f"loaded: {heavy & set(sys.modules)}" if code or heavy & set(sys.modules) else 0)
"""
    for words in (["--help"], ["--version"], ["--version", "--json"]):
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "mlx-local" in done.stdout


def test_json_before_a_command_is_told_its_place(own: Settings) -> None:
    for words in (["--json"], ["--json", "status"]):
        done = mlx_local(own, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "mlx-local status --json" in done.stderr


@pytest.mark.parametrize("command", ["up", "stop", "status", "redis", "api", "audio", "worker"])
def test_a_wrong_setting_stops_every_command_with_one_line_that_names_it(own: Settings, command: str) -> None:
    done = mlx_local(own, command, MLX_LOCAL_DRAIN_TIMEOUT="soon")

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("MLX_LOCAL_DRAIN_TIMEOUT: ")


def test_a_home_that_cannot_be_written_is_named_with_its_setting(own: Settings) -> None:
    own.home.parent.joinpath("file").write_text("no folder")

    done = mlx_local(own, "up", MLX_LOCAL_HOME=str(own.home.parent / "file"))

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("MLX_LOCAL_HOME: ")


def test_a_wrong_catalog_stops_up(own: Settings) -> None:
    done = mlx_local(own, "up", MLX_LOCAL_CATALOG=str(own.home / "nowhere.toml"))

    assert done.returncode == 2
    assert "nowhere.toml" in done.stderr


@pytest.mark.parametrize(("field", "name"), [("port", "MLX_LOCAL_PORT"), ("audio_port", "MLX_LOCAL_AUDIO_PORT")])
def test_a_port_in_use_is_named_with_its_setting(own: Settings, field: str, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = mlx_local(own.model_copy(update={field: port}), "up")

    assert done.returncode == 1
    assert done.stderr == f"Port {port} is in use; stop what uses it, or set {name} to a free one.\n"


def test_the_two_ports_must_differ(own: Settings) -> None:
    done = mlx_local(own.model_copy(update={"audio_port": own.port}), "up")

    assert done.returncode == 2
    assert "MLX_LOCAL_AUDIO_PORT" in done.stderr


def test_a_second_up_names_the_first(own: Settings) -> None:
    fd = own_home(own.run_dir)
    done = mlx_local(own, "up")
    os.close(fd)

    assert done.returncode == 1
    assert f"process {os.getpid()}, since 20" in done.stderr


def test_up_and_services_never_share_a_home(own: Settings) -> None:
    service = share_home(own.run_dir)
    assert "owned by services" in mlx_local(own, "up").stderr
    os.close(service)
    up = own_home(own.run_dir)
    done = mlx_local(own, "worker")
    os.close(up)

    assert done.returncode == 1
    assert "owned by `mlx-local up`" in done.stderr


def test_a_redis_of_yours_that_does_not_answer_is_told_without_its_password(own: Settings) -> None:
    done = mlx_local(own, "up", MLX_LOCAL_REDIS_URL="redis://:hunter2@127.0.0.1:1/0")

    assert done.returncode == 3
    assert "MLX_LOCAL_REDIS_URL" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_another_server_for_the_same_jobs_is_refused_before_anything_starts(own: Settings) -> None:
    (own.home / "redis").mkdir(parents=True)
    (own.home / "redis" / "server.json").write_text(json.dumps({"kind": "redis", "version": "7.2.0", "source": "path", "binary": "redis"}))
    done = mlx_local(own, "up")

    assert done.returncode == 1
    assert "Redis 7.2.0" in done.stderr


def test_stop_drains_the_up_of_this_home(own: Settings, stack: subprocess.Popen[str]) -> None:
    done = mlx_local(own, "stop")

    assert (done.returncode, done.stderr) == (0, "")
    assert f"process {stack.pid}" in done.stdout
    assert stack.wait() == 0
    assert living(own.run_dir) == {}


def test_stop_tells_a_program_what_it_stopped(own: Settings, stack: subprocess.Popen[str]) -> None:
    worker = living(own.run_dir)["worker"].pid
    told = json.loads(mlx_local(own, "stop", "--json").stdout)
    again = json.loads(mlx_local(own, "stop", "--json").stdout)

    assert told["stopped"].keys() >= {"up", "worker", "api", "redis"}
    assert (told["stopped"]["up"]["pid"], told["stopped"]["worker"]["pid"]) == (stack.pid, worker)
    assert again == {"home": str(own.home), "stopped": {}}


def test_stop_ends_what_a_killed_up_left(own: Settings, stack: subprocess.Popen[str]) -> None:
    guard = living(own.run_dir)["guard"].pid
    os.kill(stack.pid, signal.SIGSTOP)  # so that it does not replace the guard
    os.kill(guard, signal.SIGKILL)
    stack.kill()
    stack.wait()
    done = mlx_local(own, "stop")

    assert (done.returncode, done.stderr) == (0, "")
    assert "Stopping worker" in done.stdout
    assert living(own.run_dir) == {}
    assert hold(own.run_dir / "owner.lock") is not None


def test_restart_has_up_start_each_process_anew_and_leaves_redis_alone(own: Settings, stack: subprocess.Popen[str]) -> None:
    before = living(own.run_dir)
    done = mlx_local(own, "restart", "--json")
    after = living(own.run_dir)

    assert (done.returncode, json.loads(done.stdout)["restarted"]) == (0, ["worker", "api"])
    assert {name for name in before if after.get(name) != before[name]} == {"worker", "api"}
    assert stack.poll() is None


def test_stop_where_nothing_runs_is_no_failure(own: Settings) -> None:
    done = mlx_local(own, "stop")

    assert done.returncode == 0
    assert "Nothing runs" in done.stdout


def test_stop_leaves_services_to_those_who_supervise_them(own: Settings) -> None:
    command = [sys.executable, str(STACK), "program", str(own.run_dir), "worker", "steady"]
    with subprocess.Popen(command) as service:
        while "worker" not in living(own.run_dir):
            assert service.poll() is None
        done = mlx_local(own, "stop")
        assert service.poll() is None
        service.kill()

    assert done.returncode == 1
    assert f"worker, process {service.pid}" in done.stderr
