"""Settings: what is taken, and the one line that says what is wrong with what is not."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from app.errors import InvalidSetting
from app.settings import Settings, load_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home that the environment names."""
    monkeypatch.setenv("MLX_LOCAL_HOME", str(tmp_path))
    return tmp_path


def refusal() -> str:
    with pytest.raises(InvalidSetting) as caught:
        load_settings()
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLX_LOCAL_PORT", "abc"),
        ("MLX_LOCAL_PORT", "70000"),
        ("MLX_LOCAL_AUDIO_PORT", "0"),
        ("MLX_LOCAL_MEMORY_BUDGET", "lots"),
        ("MLX_LOCAL_MEMORY_BUDGET", "5 foo"),
        ("MLX_LOCAL_MAX_BODY", "0"),
        ("MLX_LOCAL_MAX_WAIT", "soon"),
        ("MLX_LOCAL_MAX_WAIT", "99999999999999d"),
        ("MLX_LOCAL_DRAIN_TIMEOUT", "-1"),
        ("MLX_LOCAL_DRAIN_TIMEOUT", "-P1D"),
        ("MLX_LOCAL_LOG_LEVEL", "loud"),
        ("MLX_LOCAL_KEEP_FINISHED", "0"),
        ("MLX_LOCAL_TRANSCRIBE_EXTENSIONS", "wav,m/4"),
        ("MLX_LOCAL_TRANSCRIBE_IN_FLIGHT", "0"),
        ("MLX_LOCAL_ALLOWED_HOSTS", "http://mini.lan"),
        ("MLX_LOCAL_ALLOWED_HOSTS", "*"),
        ("MLX_LOCAL_CORS_ORIGINS", "chat.example.net"),
        ("MLX_LOCAL_CORS_ORIGINS", "https://chat.example.net/page"),
        ("MLX_LOCAL_CORS_ORIGINS", "*"),
        ("MLX_LOCAL_RATE_LIMIT", "60"),
        ("MLX_LOCAL_RATE_LIMIT", "0/minute"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_setting(home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    message = refusal()

    assert message.startswith(f"{name}: ")
    assert value in message


@pytest.mark.parametrize(
    "line", ["max_wait = inf", "max_wait = nan", "max_wait = -5", "max_wait = true", "max_wait = 1e300", 'api_key = ""', "port = {}"]
)
def test_a_value_that_only_a_file_can_hold_is_refused_likewise(home: Path, line: str) -> None:
    (home / "config.toml").write_text(line)

    assert refusal().startswith(f"MLX_LOCAL_{line.partition(' ')[0].upper()}: must ")


@pytest.mark.parametrize(("name", "meant"), [("MLX_LOCAL_PROT", "MLX_LOCAL_PORT"), ("mlx_local_apikey", "MLX_LOCAL_API_KEY")])
def test_a_variable_that_nobody_reads_is_refused_with_the_one_that_was_meant(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "1")

    assert refusal() == f"{name}: there is no such setting; did you mean {meant}?"


def test_what_the_compose_file_reads_is_known(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compose = (Path(__file__).parents[2] / "docker-compose.redis.yml").read_text()
    names = set(re.findall(r"\bMLX_LOCAL_\w+", compose))
    for name in names - {"MLX_LOCAL_REDIS_URL"}:
        monkeypatch.setenv(name, "16379")

    assert "MLX_LOCAL_REDIS_PORT" in names
    assert load_settings().home == home


def test_a_name_that_nobody_reads_is_refused_in_the_file_too(home: Path) -> None:
    (home / "config.toml").write_text("prot = 5")

    assert refusal() == "prot (config.toml): there is no such setting; did you mean MLX_LOCAL_PORT?"


def test_a_file_that_is_not_toml_is_named(home: Path) -> None:
    (home / "config.toml").write_text("port = ")

    assert refusal().startswith(f"config.toml of {home}: ")


@pytest.mark.parametrize("key", [" ", "two words", "schlüssel", "line\nbreak"])
def test_a_key_that_no_client_could_send_is_refused_without_being_shown(home: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("MLX_LOCAL_API_KEY", key)

    message = refusal()

    assert message == "MLX_LOCAL_API_KEY: must be printable ASCII characters without spaces"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('worker_key = "hunter2 hunter2"', "MLX_LOCAL_WORKER_KEY"),
        ('redis_url = ["redis://:hunter2@mini.lan"]', "MLX_LOCAL_REDIS_URL"),
        ('api_url = "http://me:hunter2@mini.lan"', "MLX_LOCAL_API_URL"),
        ('api_url = "mini.lan:8787"', "MLX_LOCAL_API_URL"),
        ('api_url = "http://mini.lan:hunter2"', "MLX_LOCAL_API_URL"),
        ('api_url = "http://mini.lan"', "MLX_LOCAL_API_URL (worker --api)"),  # and no redis_url
    ],
)
def test_what_may_have_a_password_in_it_is_refused_without_being_shown(home: Path, line: str, name: str) -> None:
    (home / "config.toml").write_text(line)

    message = refusal()

    assert message.startswith(name)
    assert "hunter2" not in message


def test_an_api_is_named_by_what_its_routes_are_behind(home: Path) -> None:
    (home / "config.toml").write_text('redis_url = "redis://mini.lan"\napi_url = "https://mini.lan:8787/v1/"')

    assert load_settings().api_url == "https://mini.lan:8787"


@pytest.mark.parametrize(
    ("value", "seconds"), [("250ms", 0.25), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("7d", 604800), ("20", 20), ("0", 0)]
)
def test_a_duration_has_a_unit_or_is_in_seconds(home: Path, monkeypatch: pytest.MonkeyPatch, value: str, seconds: float) -> None:
    monkeypatch.setenv("MLX_LOCAL_MAX_WAIT", value)

    assert load_settings().max_wait == timedelta(seconds=seconds)


def test_every_default_passes_its_own_check(home: Path) -> None:
    settings = load_settings()

    assert Settings.model_validate(settings.model_dump()) == settings
    assert settings.home == home


def test_the_environment_comes_before_the_file_and_empty_is_unset(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "config.toml").write_text('port = 1111\nhost = "localhost"\nlog_level = "DEBUG"')
    monkeypatch.setenv("MLX_LOCAL_PORT", "2222")
    monkeypatch.setenv("MLX_LOCAL_HOST", "")

    settings = load_settings()

    assert (settings.port, settings.host, settings.log_level) == (2222, "localhost", "debug")


def test_a_relative_path_is_beside_the_file_that_says_it_and_in_the_current_folder_otherwise(
    home: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    (home / "config.toml").write_text('catalog = "models.toml"\ntranscribe_dir = "../talks"')

    settings = load_settings()
    assert settings.catalog == home / "models.toml"
    assert settings.transcribe_dir.resolve() == home.parent / "talks"

    monkeypatch.setenv("MLX_LOCAL_CATALOG", "models.toml")
    assert load_settings().catalog == here / "models.toml"


def test_lists_are_parted_in_a_variable_and_lists_in_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "config.toml").write_text('transcribe_dirs = ["talks", "/srv/talks"]\ntranscribe_extensions = [".WAV", "mp3"]')
    settings = load_settings()

    assert settings.watched_dirs == (Path.home() / "transcribe", home / "talks", Path("/srv/talks"))
    assert settings.transcribe_extensions == ("wav", "mp3")
    monkeypatch.setenv("MLX_LOCAL_TRANSCRIBE_DIRS", "/a:/b")
    monkeypatch.setenv("MLX_LOCAL_TRANSCRIBE_EXTENSIONS", "flac, ogg")
    assert load_settings().transcribe_dirs == (Path("/a"), Path("/b"))
    assert load_settings().transcribe_extensions == ("flac", "ogg")


@pytest.mark.parametrize(
    ("said", "meant"), [("/srv/models.toml", Path("/srv/models.toml")), ("~/models.toml", Path.home() / "models.toml")]
)
def test_a_path_that_says_where_it_begins_is_left_alone(home: Path, said: str, meant: Path) -> None:
    (home / "config.toml").write_text(f'catalog = "{said}"')

    assert load_settings().catalog == meant


def test_a_file_found_by_a_relative_home_means_the_same_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "config.toml").write_text('catalog = "models.toml"')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLX_LOCAL_HOME", "state")

    assert load_settings().catalog == tmp_path / "state" / "models.toml"
