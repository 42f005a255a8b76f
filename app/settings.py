"""Every setting, typed and frozen. Read once per process and passed on from there.

``MLX_LOCAL_*`` in the environment comes before ``$MLX_LOCAL_HOME/config.toml``,
which comes before the defaults. A relative path means one in the current
folder, and in ``config.toml`` one beside that file. A value that cannot be used
raises :class:`~app.errors.InvalidSetting` with one line that names it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, ByteSize, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from app.errors import InvalidSetting
from app.exposure import check_api_url, check_rate
from app.setting_values import Duration, Extensions, Hosts, Key, Level, Narrowing, Origins, Port, UserPath, UserPaths

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["Settings", "default_home", "forget_secrets", "load_settings"]

_PREFIX = "MLX_LOCAL_"
_FOR_TESTS = "MLX_LOCAL_TEST_"
_READ_ELSEWHERE = ["MLX_LOCAL_REDIS_PORT"]  # by docker-compose.redis.yml
_SECRET = {"api_key", "worker_key", "redis_url", "api_url"}  # a wrong value of these may have a password in it
_PATHS = ("catalog", "transcribe_dir", "transcribe_dirs")
_RECORDINGS = ("wav", "mp3", "m4a", "flac", "ogg", "webm", "opus", "oga", "aac", "mp4", "m4b", "mov", "mkv", "aif", "aiff", "caf", "amr")
_SENTENCES = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "byte_size": "must be bytes, or a size such as 20GB",
    "byte_size_unit": "must be bytes, or a size such as 20GB",
}


def default_home() -> Path:
    """Return the home folder: ``$MLX_LOCAL_HOME``, else ``~/.mlx-server``."""
    return Path(os.environ.get("MLX_LOCAL_HOME") or "~/.mlx-server").expanduser().absolute()


class Settings(BaseSettings):
    """The settings of one process. Environment names are the field names with ``MLX_LOCAL_`` before them."""

    model_config = SettingsConfigDict(env_prefix="MLX_LOCAL_", env_ignore_empty=True, frozen=True, extra="forbid")

    home: UserPath = Field(default_factory=default_home, description="State, logs, spool and configuration.")
    host: str = Field("127.0.0.1", description="Address to listen on. Off loopback an API key is required.")
    port: Port = Field(8787, description="Port of the main API.")
    audio_port: Port = Field(8788, description="Port of the audio API. Both ports serve every route.")
    redis_url: str | None = Field(None, description="A Redis or Valkey >= 7 of yours; unset: the bundled server.")
    api_url: str | None = Field(None, description="Address of the API of the machine that has the jobs, for a worker of another machine.")
    worker_key: Key | None = Field(None, description="Key of the scope worker that such a worker shows to that API. See docs/cluster.md.")
    worker_cache: ByteSize = Field(ByteSize(10 * 1024**3), description="Media that such a worker keeps on disk; what its jobs use stays.")
    profile: str = Field("auto", description="auto, starter, 16gb or 32gb: which model has which role.")
    catalog: UserPath | None = Field(None, description="A TOML file whose models replace or join the built-in ones.")
    memory_budget: ByteSize | None = Field(None, description="Bytes (or '20GB') that models may use; unset: from the device.")
    memory_watermark: ByteSize | None = Field(
        None, description="Available memory of the machine below which nothing more is admitted; unset: 5%, at least 512 MiB."
    )
    memory_for_others: ByteSize | None = Field(
        None, description="Memory that other programs keep: a model whose load would leave them less waits; unset: the budget alone counts."
    )
    on_battery: Narrowing = Field("all", description="all or interactive: which work begins while this machine runs on battery.")
    on_low_power: Narrowing = Field(
        "interactive",
        description="all or interactive: which work begins in low-power mode, or on battery with less than 20% of its charge.",
    )
    keep_awake: bool = Field(default=True, description="Keep a Mac from idle sleep while jobs run.")
    transcribe_dir: UserPath = Field(Path("~/transcribe"), validate_default=True, description="The watched folder.")
    transcribe_dirs: UserPaths = Field((), description="Further watched folders, with a colon between each.")
    transcribe_extensions: Extensions = Field(_RECORDINGS, description="Extensions of what is taken for a recording in these folders.")
    transcribe_settle: Duration = Field(timedelta(seconds=2), description="How long a file must stand still before it is taken.")
    transcribe_rescan: Duration = Field(timedelta(seconds=30), description="How often these folders are looked at, whatever events say.")
    transcribe_in_flight: Annotated[int, Field(ge=1)] = Field(64, description="Recordings of these folders whose jobs wait or run at once.")
    api_key: Key | None = Field(None, description="Key that every request must carry as a bearer token, with all scopes. See docs/keys.md.")
    allowed_hosts: Hosts = Field((), description="Further names of this machine that requests may ask for; `*.name` for all below one.")
    cors_origins: Origins = Field((), description="Origins of web pages elsewhere that may use the API and read its answers.")
    rate_limit: Annotated[str, AfterValidator(check_rate)] | None = Field(
        None, description="Requests that a key may send, such as 60/minute."
    )
    max_wait: Duration = Field(timedelta(seconds=60), description="Bound on an interactive request's wait for its model's turn.")
    batch_max_wait: Duration = Field(timedelta(minutes=30), description="The same for batch work.")
    max_recording: Duration = Field(timedelta(hours=24), description="Longest recording that is transcribed.")
    max_pages: Annotated[int, Field(ge=1, le=2000)] = Field(2000, description="Most pages that are read of one document.")
    max_body: Annotated[ByteSize, Field(ge=1)] = Field(ByteSize(64 * 1024**2), description="Largest request body of the JSON routes.")
    max_upload: ByteSize = Field(ByteSize(2 * 1024**3), description="Largest file that may be uploaded.")
    max_picture: Annotated[ByteSize, Field(ge=1)] = Field(ByteSize(50 * 1024**2), description="Largest file of a picture.")
    max_picture_pixels: Annotated[int, Field(ge=1)] = Field(120_000_000, description="Most pixels of a picture.")
    picture_timeout: Duration = Field(timedelta(seconds=15), description="How long fetching a picture from its address may take.")
    max_video: Annotated[ByteSize, Field(ge=1)] = Field(ByteSize(256 * 1024**2), description="Largest file of a video.")
    max_video_length: Duration = Field(timedelta(minutes=10), description="Longest video that is looked at.")
    video_timeout: Duration = Field(timedelta(seconds=60), description="How long fetching a video from its address may take.")
    private_pictures: bool = Field(
        default=False,
        description="Fetch pictures and videos also from addresses of this machine and its networks. Callers can then look into them.",
    )
    private_webhooks: bool = Field(
        default=False,
        description="Send webhooks also to addresses of this machine and its networks. Callers can then have this server ask there.",
    )
    max_queued: Annotated[int, Field(ge=1)] = Field(100_000, description="Jobs that may be queued before a submission is refused.")
    max_redis_bytes: ByteSize = Field(ByteSize(2 * 1024**3), description="Redis memory above which a submission is refused.")
    min_free_disk: ByteSize = Field(ByteSize(1024**3), description="Free disk under which a submission is refused.")
    download_stall: Duration = Field(timedelta(seconds=60), description="A download that brings no byte for so long is begun anew.")
    keep_waited: Duration = Field(timedelta(minutes=10), description="How long a job that a caller waited on is kept after its end.")
    keep_submitted: Duration = Field(timedelta(days=7), description="How long a submitted job is kept after its end.")
    keep_finished: Annotated[int, Field(ge=1)] = Field(50_000, description="Finished jobs kept at most, oldest leave first.")
    drain_timeout: Duration = Field(timedelta(seconds=20), description="How long a stopping worker lets running jobs finish.")
    traces: str | None = Field(
        None, description="OTLP address (http://127.0.0.1:4318) that spans are sent to; unset: OTEL_EXPORTER_OTLP_ENDPOINT, else none."
    )
    log_level: Level = Field("info", description="debug, info, warning or error.")

    @field_validator("api_url")
    @classmethod
    def _plain_api_url(cls, url: str | None) -> str | None:
        return check_api_url(url) if url else None

    @model_validator(mode="after")
    def _jobs_are_there_too(self) -> Self:
        if self.api_url and not self.redis_url:
            msg = (
                "MLX_LOCAL_API_URL (worker --api) makes this home that of a worker of another machine, so MLX_LOCAL_REDIS_URL"
                " (worker --redis) must say where the jobs are."
            )
            raise ValueError(msg)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings passes all by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then ``config.toml`` of the home."""
        home = Path(str(init_settings().get("home") or default_home())).expanduser().absolute()
        return init_settings, env_settings, _ConfigFile(settings_cls, toml_file=home / "config.toml")

    @property
    def logs_dir(self) -> Path:
        """Where every process writes its log file."""
        return self.home / "logs"

    @property
    def run_dir(self) -> Path:
        """Locks, the crash breadcrumb, and the socket where its path is short enough."""
        return self.home / "run"

    @property
    def redis_dir(self) -> Path:
        """Where the bundled server keeps its append-only file."""
        return self.home / "redis"

    @property
    def spool_dir(self) -> Path:
        """Blobs too large for Redis, by content hash."""
        return self.home / "spool"

    @property
    def fetched_dir(self) -> Path:
        """Where a worker of another machine keeps what it has fetched."""
        return self.home / "fetched"

    @property
    def watched_dirs(self) -> tuple[Path, ...]:
        """The folders whose recordings are transcribed."""
        return tuple(dict.fromkeys((self.transcribe_dir, *self.transcribe_dirs)))

    @property
    def daemon_dir(self) -> Path:
        """What the daemon remembers, and what it says of each file."""
        return self.home / "transcribe"

    @property
    def pulled_catalog(self) -> Path:
        """The models that `models pull` added, in a catalog file that the software writes."""
        return self.home / "pulled.toml"

    @property
    def models_dir(self) -> Path:
        """Models that we made ourselves: the converted starter models."""
        return self.home / "models"


class _ConfigFile(TomlConfigSettingsSource):
    """``config.toml``. A relative path in it is relative to the file, wherever the command that reads it was typed."""

    def __call__(self) -> dict[str, Any]:
        """Return the values of the file."""
        assert isinstance(self.toml_file_path, Path)  # noqa: S101 - for the type checker; it was given as one
        folder = self.toml_file_path.parent
        values = dict(super().__call__())
        for name in _PATHS:
            value = values.get(name)
            if isinstance(value, list):
                values[name] = [_beside(folder, part) for part in value]
            elif value is not None:
                values[name] = _beside(folder, value)
        return values


def _beside(folder: Path, value: Any) -> Any:  # noqa: ANN401 - whatever the file says
    return folder / value if isinstance(value, str) and not value.startswith("~") else value


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401 - values are whatever the fields take
    """Read the settings.

    Args:
        **overrides: Field values that come before every other source.

    Raises:
        InvalidSetting: One line that names the setting, its value and what is wrong.
    """
    _refuse_unknown(os.environ)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise _invalid(error.errors()[0]) from None
    except (OSError, ValueError) as error:  # config.toml: unreadable, or not TOML
        text = f"config.toml of {overrides.get('home') or default_home()}: {error}"
        raise InvalidSetting(text) from None


def forget_secrets() -> None:
    """Take what may be secret out of this process's environment, once the settings are read: its children get none of it."""
    for name in _SECRET:
        os.environ.pop(_PREFIX + name.upper(), None)


def _refuse_unknown(names: Iterable[str]) -> None:
    """Refuse a variable of ours that nobody reads: a key or a port that was meant to be set and is not."""
    known = [*(_PREFIX + field.upper() for field in Settings.model_fields), *_READ_ELSEWHERE]
    for name in sorted(names):
        upper = name.upper()
        if upper.startswith(_PREFIX) and not upper.startswith(_FOR_TESTS) and upper not in known:
            raise _no_such_setting(name, upper, known)


def _no_such_setting(name: str, meant: str, known: Sequence[str]) -> InvalidSetting:
    nearest = difflib.get_close_matches(meant, known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else "unset it; app/settings.py lists them all"
    return InvalidSetting(f"{name}: there is no such setting; {hint}")


def _invalid(error: ErrorDetails) -> InvalidSetting:
    name = ".".join(str(part) for part in error["loc"][:1])
    message = _SENTENCES.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ").replace("Input should", "must")
    if not name:
        return InvalidSetting(message)
    where = _PREFIX + name.upper()
    if error["type"] == "extra_forbidden":
        return _no_such_setting(f"{name} (config.toml)", where, [_PREFIX + field.upper() for field in Settings.model_fields])
    got = "" if name in _SECRET else f" (got {error['input']!r})"
    return InvalidSetting(f"{where}: {message}{got}", param=name)
