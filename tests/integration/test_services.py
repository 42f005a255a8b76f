"""Services: installed, seen, restarted, stopped and removed, with programs of ours in the place of launchctl and systemctl."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.checks_service import check_services
from app.cli.ownership import Holder, living, own_home
from app.cli.stopping import stop_living
from app.folder_state import recordings_standing
from app.jobs.gateway import JobGateway
from app.jobs.record import JobState, Lane
from app.serving import served
from app.settings import Settings, load_settings
from tests.integration.command import environment, mlx_local
from tests.integration.daemon_process import until
from tests.integration.test_worker_crashes import answer, first_tokens, job
from tests.integration.test_worker_troubles import ends
from tests.integration.worker_process import scripted_catalog

_LAUNCHD = Path(__file__).with_name("mini_launchd.py")
_UNITS = ["mlx-redis.service", "mlx-server.service", "mlx-audio-server.service", "mlx-worker.service", "mlx-transcribe-daemon.service"]
_SYSTEMCTL = """#!/bin/sh
echo "$*" >> "$MLX_TEST_SYSTEMD/calls"
shift 2
case $1 in
enable) echo active > "$MLX_TEST_SYSTEMD/state" ;;
stop) echo inactive > "$MLX_TEST_SYSTEMD/state" ;;
show) read -r state < "$MLX_TEST_SYSTEMD/state" || state=inactive
  shift 2
  for unit; do echo "Id=$unit"; echo "ActiveState=$state"; echo; done ;;
esac
"""


@pytest.fixture
def own(private_folder: Path, starter_models: Path) -> Settings:
    """Settings of a new home with free ports and the bundled Redis, whose models are scripted."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = one.getsockname()[1], two.getsockname()[1]
    home = private_folder / "home"
    home.mkdir()
    (home / "models").symlink_to(starter_models)  # nothing has to be fetched
    (home / "config.toml").write_text("drain_timeout = '0.5s'\nmin_free_disk = 0\n")
    return load_settings(home=home, port=ports[0], audio_port=ports[1], profile="16gb", catalog=scripted_catalog(private_folder))


@pytest.fixture
def launchd(own: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A launchctl that supervises; the folder has its calls, and the user's home."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "launchctl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{_LAUNCHD}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("MLX_TEST_LAUNCHD", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    yield tmp_path
    for keeper in tmp_path.glob("*.keeper"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(keeper.read_text()), signal.SIGKILL)
    stop_living(own.run_dir, 0.0)


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that notes its calls; the folder has them, and the user's home."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "systemctl"
    program.write_text(_SYSTEMCTL)
    program.chmod(0o755)
    (tmp_path / "state").write_text("inactive\n")
    for name, value in (
        ("PATH", program.parent),
        ("MLX_TEST_SYSTEMD", tmp_path),
        ("HOME", tmp_path),
        ("XDG_CONFIG_HOME", tmp_path / "etc"),
    ):
        monkeypatch.setenv(name, str(value))
    return tmp_path


def calls(folder: Path) -> list[str]:
    """Return what was asked since the last time, without looks."""
    file = folder / "calls"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return [line for line in lines if not line.startswith("print ") and " show " not in line]


def outcome(settings: Settings, **more: str) -> dict[str, str]:
    done = mlx_local(settings, "install", "--json", **more)
    assert done.returncode == 0, done.stderr
    services: dict[str, str] = json.loads(done.stdout)["services"]
    return services


def say(line: str, settings: Settings) -> None:
    """Type a line of the seed."""
    subprocess.run(["sh", "-c", line], env=environment(settings), check=True)


def comes(settings: Settings, name: str, after: Holder | None = None) -> None:
    """Wait for a process, or for the one after *after*."""
    until(lambda: living(settings.run_dir).get(name) not in {None, after}, lambda: f"{name}: {living(settings.run_dir)}", patience_s=60)


def restart_the_server(own: Settings) -> None:
    """Restart the main API as the seed says; the worker follows, and nobody else."""
    before = living(own.run_dir)
    say("launchctl kickstart -k gui/$(id -u)/com.mlx-server", own)
    for name in ("api", "worker"):
        comes(own, name, after=before[name])
    left_alone = ("redis", "audio", "daemon")
    assert {name: living(own.run_dir)[name] for name in left_alone} == {name: before[name] for name in left_alone}


async def restart_amid_an_answer(own: Settings) -> None:
    """Restart the main API while the worker answers: the answer comes, and is whole."""
    new = job("say 1500", Lane.INTERACTIVE)
    gateway = await JobGateway.open(own)
    await gateway.submit(new)
    await first_tokens(gateway, new)
    await asyncio.to_thread(restart_the_server, own)
    assert await ends(gateway, new) == [JobState.SUCCEEDED]
    ended = await gateway.get(new.id)
    assert ended.output["choices"][0]["message"]["content"] == answer(1500)
    assert ended.attempt == 2
    await gateway.close()


def end_and_start_the_daemon(own: Settings, state: Path) -> None:
    """End the daemon, which is no failure: it stays away until the seed's line starts it."""
    watches = living(own.run_dir)["daemon"]
    until(lambda: recordings_standing(own).get("pid") == watches.pid)
    os.kill(watches.pid, signal.SIGTERM)
    until(lambda: state.read_text() == "not running", patience_s=60)
    assert "daemon   not running (launchd: not running, last exit code 0)" in mlx_local(own, "status").stdout
    say("launchctl kickstart gui/$(id -u)/com.mlx-transcribe-daemon", own)
    comes(own, "daemon", after=watches)


def test_services_run_and_are_restarted_as_the_seed_says_and_lose_no_job(own: Settings, launchd: Path) -> None:
    assert set(outcome(own, MLX_LOCAL_TRANSCRIBE_DIR=str(launchd / "dropped")).values()) == {"installed"}
    agents = launchd / "Library" / "LaunchAgents"
    assert f"bootstrap gui/{os.getuid()} {agents}/com.mlx-server.plist" in calls(launchd)
    for name in ("redis", "api", "audio", "worker", "daemon"):
        comes(own, name)
    until(lambda: served(own.run_dir).now, patience_s=60)
    asyncio.run(restart_amid_an_answer(own))
    end_and_start_the_daemon(own, launchd / "com.mlx-transcribe-daemon.state")
    up, seen = mlx_local(own, "up"), mlx_local(own, "status")
    assert (up.returncode, "owned by services: api" in up.stderr) == (1, True)
    assert f"Home       {own.home}, services of launchd" in seen.stdout
    assert f"Folder     {launchd / 'dropped'}: 0 in work" in seen.stdout
    watched = living(own.run_dir)["daemon"]
    assert json.loads(mlx_local(own, "restart", "daemon", "--json").stdout)["restarted"] == ["daemon"]
    comes(own, "daemon", after=watched)
    stopped = mlx_local(own, "stop")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert "com.mlx-transcribe-daemon" in stopped.stdout
    assert "until the next login" in stopped.stdout
    assert living(own.run_dir) == {}
    assert "Stopped and removed: com.mlx-redis" in mlx_local(own, "uninstall").stdout
    assert list(agents.iterdir()) == []


def test_installing_again_touches_only_what_changed(own: Settings, systemd: Path) -> None:
    folder = systemd / "etc" / "systemd" / "user"
    everything = " ".join(_UNITS)
    assert set(outcome(own).values()) == {"installed"}
    assert calls(systemd) == [f"--user --no-pager {words}" for words in ("daemon-reload", f"enable --now {everything}")]
    written = {unit: (folder / unit).read_bytes() for unit in _UNITS}
    assert set(outcome(own).values()) == {"unchanged"}
    assert calls(systemd) == []
    (own.home / "config.toml").write_text("drain_timeout = '70s'\n")
    found = outcome(own)
    assert (found.pop("com.mlx-redis"), set(found.values())) == ("unchanged", {"changed"})
    rest = " ".join(_UNITS[1:])
    assert calls(systemd) == [f"--user --no-pager {words}" for words in (f"stop {rest}", "daemon-reload", f"enable --now {rest}")]
    assert {unit for unit in _UNITS if (folder / unit).read_bytes() == written[unit]} == {"mlx-redis.service"}


def test_services_are_stopped_restarted_and_removed_by_their_system(own: Settings, systemd: Path) -> None:
    outcome(own)
    calls(systemd)
    stopped = mlx_local(own, "stop")
    assert (stopped.returncode, "Asking systemd to stop mlx" in stopped.stdout.replace("com.", "")) == (0, True)
    assert calls(systemd) == [f"--user --no-pager stop {' '.join(_UNITS)}"]
    assert "Nothing runs" in mlx_local(own, "stop").stdout
    assert "com.mlx-worker was started" in mlx_local(own, "restart", "worker").stdout
    assert calls(systemd)[-1] == "--user --no-pager enable --now mlx-redis.service mlx-worker.service"
    removed = json.loads(mlx_local(own, "uninstall", "--json").stdout)["removed"]
    assert removed == [f"com.{unit.removesuffix('.service')}" for unit in _UNITS]
    assert [line.split()[2] for line in calls(systemd)] == ["stop", "disable", "daemon-reload"]
    assert list((systemd / "etc" / "systemd" / "user").iterdir()) == []
    assert mlx_local(own, "restart").returncode == 3


def test_a_home_has_services_or_one_up_and_a_user_the_services_of_one_home(own: Settings, systemd: Path) -> None:
    up = own_home(own.run_dir)
    refused = mlx_local(own, "install")
    os.close(up)
    assert (refused.returncode, "owned by `mlx-local up`" in refused.stderr) == (1, True)
    outcome(own)
    other = own.model_copy(update={"home": own.home.parent / "other"})
    refused = mlx_local(other, "install")
    assert (refused.returncode, f"MLX_LOCAL_HOME='{own.home}' mlx-local uninstall" in refused.stderr) == (1, True)
    assert "No services of the home" in mlx_local(other, "uninstall").stdout
    calls(systemd)
    (systemd / "etc" / "systemd" / "user" / "mlx-worker.service").write_text("[Service]\nExecStart=/bin/true\n")
    assert "is not ours" in mlx_local(own, "install").stderr
    assert calls(systemd) == []


def test_a_key_that_services_would_not_have_stops_the_installation(own: Settings, systemd: Path) -> None:
    refused = mlx_local(own, "install", MLX_LOCAL_API_KEY="sk-hush")
    assert (refused.returncode, "MLX_LOCAL_API_KEY is a secret" in refused.stderr) == (2, True)
    assert calls(systemd) == []
    (own.home / "config.toml").write_text('api_key = "sk-hush"\n')
    (own.home / "config.toml").chmod(0o644)
    told = mlx_local(own, "install", MLX_LOCAL_API_KEY="sk-hush")
    assert (told.returncode, "chmod 600" in told.stdout + told.stderr) == (0, True)
    written = [path.read_text() for path in (systemd / "etc" / "systemd" / "user").iterdir()]
    assert "sk-hush" not in "".join([told.stdout, told.stderr, *written])


def test_doctor_says_whether_services_are_as_they_should_be(own: Settings, systemd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(own).items():
        if name.startswith("MLX_LOCAL_"):
            monkeypatch.setenv(name, value)

    def told() -> list[tuple[str, str | None]]:
        return [(finding.status, finding.mend) for finding in check_services(load_settings())]

    assert told() == []
    outcome(own)
    assert told() == [("ok", None)]
    (systemd / "state").write_text("failed\n")
    assert "mlx-local restart" in str(told())
    monkeypatch.setenv("MLX_LOCAL_MAX_WAIT", "5s")
    assert "mlx-local install" in str(told())
    monkeypatch.setenv("MLX_LOCAL_API_KEY", "sk-hush")
    assert [status for status, mend in told() if "put `api_key" in str(mend)] == ["warning"]
