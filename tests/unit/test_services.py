"""Services as they are written: read back by those who will read them, with everything in them that a service needs and no secret."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app import __version__
from app.cli.services.environment import service_environment
from app.cli.services.launchd import Launchd
from app.cli.services.release import release
from app.cli.services.systemd import Systemd
from app.cli.services.table import SERVICES, services_of
from app.cli.stopping import drain_stage_s, stop_limit_s
from app.cli.terminal import CommandError
from app.settings import Settings, load_settings

_ODD = 'a "b" & <c> 100% \\d $HOME é'


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a home whose name has all that anybody might forget to quote, a relative path among them."""
    for name in [name for name in os.environ if name.startswith("MLX_LOCAL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLX_LOCAL_TRANSCRIBE_DIR", "dropped here")
    monkeypatch.setenv("MLX_LOCAL_DRAIN_TIMEOUT", "90s")
    return load_settings(home=tmp_path / _ODD)


def test_a_plist_has_what_launchd_needs_and_every_path_is_absolute(odd: Settings) -> None:
    launchd, environment = Launchd(), service_environment(odd)
    for service in SERVICES:
        written = launchd.render(service, environment, odd.run_dir, stop_limit_s(odd, service.name))
        found = plistlib.loads(written)
        assert found["Label"] == service.label
        assert found["ProgramArguments"] == [sys.executable, "-P", "-m", "app.cli.main", service.name]
        assert (found["KeepAlive"], found["RunAtLoad"]) == ({"SuccessfulExit": False}, True)
        assert found["ThrottleInterval"] == 5
        assert found["ExitTimeOut"] == (30 if service.name == "redis" else 100)
        assert found["ProcessType"] == ("Standard" if service.name == "daemon" else "Interactive")
        said = found["EnvironmentVariables"]
        assert (said["MLX_SERVICE"], said["MLX_LOCAL_HOME"]) == (service.label, str(odd.home))
        assert said["MLX_LOCAL_TRANSCRIBE_DIR"] == str(odd.home.parent / "dropped here")
        assert launchd.read_environment(written).items() >= environment.items()
        paths = [found["ProgramArguments"][0], found["StandardErrorPath"], found["StandardOutPath"], *said["PATH"].split(":")]
        assert all(Path(path).is_absolute() for path in paths)
        assert not [value for value in [*paths, *said.values()] if value.startswith("$")]


def test_a_drain_may_take_as_long_as_the_settings_say(odd: Settings) -> None:
    assert stop_limit_s(odd, "worker") == drain_stage_s(odd) > odd.drain_timeout.total_seconds()


def test_units_are_what_systemd_takes_and_say_the_same(odd: Settings, tmp_path: Path) -> None:
    systemd, environment = Systemd(), service_environment(odd)
    folder = tmp_path / "units"
    folder.mkdir()
    for service in SERVICES:
        written = systemd.render(service, environment, odd.run_dir, stop_limit_s(odd, service.name))
        (folder / service.unit).write_bytes(written)
        assert systemd.read_environment(written).items() >= environment.items()
        lines = written.decode().splitlines()
        assert f"TimeoutStopSec={30 if service.name == 'redis' else 100}" in lines
        assert {"Restart=on-failure", "KillMode=mixed", "WantedBy=default.target"} <= set(lines)
        assert ("After=mlx-redis.service" in lines) == (service.name != "redis")
    if shutil.which("systemd-analyze") is None:
        assert not os.environ.get("CI"), "systemd-analyze is missing"
        pytest.skip("systemd-analyze is not here")
    judge = ["systemd-analyze", "verify", "--user", "--man=no", *(str(folder / service.unit) for service in SERVICES)]
    done = subprocess.run(judge, env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_secret_of_the_shell_is_refused_unless_services_find_it_in_the_home(odd: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_LOCAL_API_KEY", "sk-hush")
    settings = load_settings(home=odd.home)
    with pytest.raises(CommandError, match="MLX_LOCAL_API_KEY is a secret") as raised:
        service_environment(settings)
    assert "sk-hush" not in raised.value.message
    settings.home.mkdir()
    (settings.home / "config.toml").write_text('api_key = "another"')
    with pytest.raises(CommandError):
        service_environment(settings)
    (settings.home / "config.toml").write_text('api_key = "sk-hush"')
    assert "sk-hush" not in str(service_environment(settings))


def test_an_address_with_a_password_is_a_secret_and_others_are_carried(odd: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", "/models")
    monkeypatch.setenv("HF_TOKEN", "hf_hush")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hush@proxy:3128")
    monkeypatch.setenv("NO_PROXY", "localhost")
    found = service_environment(odd)
    assert (found["HF_HOME"], found["NO_PROXY"]) == ("/models", "localhost")
    assert "hush" not in str(found)
    monkeypatch.setenv("MLX_LOCAL_REDIS_URL", "redis://:hush@10.0.0.1/0")
    with pytest.raises(CommandError, match="MLX_LOCAL_REDIS_URL is a secret"):
        service_environment(load_settings(home=odd.home))


def test_every_upgrade_is_another_release_and_a_move_or_a_first_run_is_none(tmp_path: Path) -> None:
    here, there = tmp_path / "here" / "app", tmp_path / "there" / "app"
    for folder in (here, there):
        folder.mkdir(parents=True)
        (folder / "main.py").write_text("print(1)")
    (there / "__pycache__").mkdir()
    (there / "__pycache__" / "main.pyc").write_bytes(b"compiled")
    before = release([here])
    assert before == release([there])
    (here / "main.py").write_text("print(2)")
    assert release([here]) != before
    assert release().startswith(f"{__version__}-")


def test_what_no_file_of_theirs_can_hold_is_refused(odd: Settings) -> None:
    with pytest.raises(CommandError, match="HF_HOME has control characters"):
        service_environment(odd, {"HF_HOME": "/a\nb"})


def test_with_a_redis_of_yours_there_is_no_service_of_ours(odd: Settings) -> None:
    yours = odd.model_copy(update={"redis_url": "redis://127.0.0.1/0"})
    assert [service.name for service in services_of(odd)] == ["redis", "api", "audio", "worker", "daemon"]
    assert [service.name for service in services_of(yours)] == ["api", "audio", "worker", "daemon"]
