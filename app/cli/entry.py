"""The entry points: one command for each process of the stack, whoever supervises it.

Each takes its locks, then becomes the real program by ``exec``, so that
``up``, launchd or systemd signal and watch that program itself. A process
that ``up`` started checks that ``up`` still lives after it has taken its
lock: whoever stops orphans then either finds the lock or need not look.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from app.cli import terminal
from app.cli.terminal import USAGE, CommandError
from app.serving import is_service

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["SUPERVISOR", "api", "audio", "become", "daemon", "redis", "retry_failed", "worker"]

SUPERVISOR = "MLX_SUPERVISOR_PID"
"""Environment variable that ``up`` sets for its children: its process id."""

_REDIS = (
    "Redis of the machine that has the jobs, as rediss://user:password@mini.lan:6380/0. Who lists processes may see it while this command"
    " starts, and your shell remembers it: better is redis_url in config.toml of this home."
)
_API = "Address of the API of that machine, as http://192.168.1.5:8787. Or api_url in config.toml."
_KEY_FILE = (
    "File with a key of the scope worker, which `mlx-local keys create NAME --scope worker` makes there. Or worker_key in config.toml."
)


def redis() -> None:
    """Run the bundled Redis in the foreground."""
    settings = _own_settings()
    if settings.redis_url:
        terminal.say("MLX_LOCAL_REDIS_URL is set, so the jobs live there and no bundled Redis is started.")
        return
    from app.cli.redis_server import server_command

    take_locks(settings.run_dir, "redis")
    command = server_command(settings)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


def api() -> None:
    """Run the main API in the foreground."""
    _refuse_to_serve()
    _become_module("api", ["app.api.main", "--role", "main"])


def audio() -> None:
    """Run the audio API in the foreground."""
    _refuse_to_serve()
    _become_module("audio", ["app.api.main", "--role", "audio"])


def worker(
    redis_url: Annotated[str | None, typer.Option("--redis", metavar="URL", help=_REDIS)] = None,
    api_url: Annotated[str | None, typer.Option("--api", metavar="URL", help=_API)] = None,
    key_file: Annotated[Path | None, typer.Option("--key-file", metavar="FILE", help=_KEY_FILE)] = None,
) -> None:
    """Run the worker, the one process with models, in the foreground: that of this home's API, or, with --redis and --api, of another's."""
    from app.machine import worker_environment

    said = {"redis_url": redis_url, "api_url": api_url, "worker_key": _key_of(key_file) if key_file else None}
    given = {name: value for name, value in said.items() if value is not None}
    settings = _own_settings(**given)
    if redis_url and not settings.api_url:
        msg = "--redis is for a worker of another machine, which must know the API there too: say --api URL, or set MLX_LOCAL_API_URL."
        raise CommandError(msg, USAGE)
    if settings.api_url:
        _join(settings)
    # The key and a password go on in the environment, which nobody else can read.
    environment = {f"MLX_LOCAL_{name.upper()}": value for name, value in given.items()}
    become(settings, "worker", ["app.actors.main"], worker_environment(settings) | environment)


def _key_of(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"--key-file: {file} cannot be read ({error})."
        raise CommandError(msg, USAGE) from None


def _join(settings: Settings) -> None:
    """See that this worker can do something, and prepare its home as ``up`` prepares that of a whole stack."""
    from app.cli.joining import check_cluster
    from app.cli.preparing import prepare_home
    from app.models.catalog import load_catalog

    catalog = load_catalog(settings)
    check_cluster(settings, terminal.say)
    prepare_home(settings, catalog)


def daemon() -> None:
    """Run the transcribe folder's daemon in the foreground."""
    _become_module("daemon", ["daemon.main"])


def become(settings: Settings, name: str, module: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Take the locks of process *name* and become ``python -m`` *module*.

    Args:
        settings: Say which home.
        name: redis, api, audio, worker or daemon.
        module: The module and its arguments.
        environment: Variables to set over those of this process.

    Raises:
        CommandError: Another owner or another such process lives, or the supervisor has died.
    """
    take_locks(settings.run_dir, name)
    # -P: a folder named "app" where the command was typed must not be taken for ours.
    command = [sys.executable, "-P", "-m", *module]
    os.execve(command[0], command, {**os.environ, **environment})  # noqa: S606 - no shell is wanted


def retry_failed(recordings: Sequence[Path]) -> NoReturn:
    """Become the program that has the daemon try failed recordings again: it knows their marks, and runs whether or not a daemon does."""
    command = [sys.executable, "-P", "-m", "daemon.retrying", *map(str, recordings)]
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


def forget_transcripts(older_than_s: float) -> bool:
    """Have the daemon's memory forget transcripts that are older than that; return whether it did. Works while it runs, and while not."""
    import subprocess

    command = [sys.executable, "-P", "-m", "daemon.forgetting", str(older_than_s)]
    return subprocess.run(command, check=False).returncode == 0


def take_locks(run_dir: Path, name: str) -> None:
    """Become process *name* of the home: one of the services, or a child of its ``up``."""
    from app.cli import ownership

    supervisor = int(os.environ[SUPERVISOR]) if os.environ.get(SUPERVISOR, "").isdigit() else None
    if supervisor is None:
        ownership.share_home(run_dir)
    ownership.claim_process(run_dir, name, supervisor)
    if supervisor is not None and os.getppid() != supervisor:
        msg = f"The `mlx-local up` that started `{name}` is gone."
        raise CommandError(msg)


def _refuse_to_serve() -> None:
    from app.cli.joining import refuse_to_serve

    refuse_to_serve(terminal.settings())


def _own_settings(**given: str) -> Settings:
    """Return the settings, once the file that launchd sends a service's stderr to is emptied: so it stays small."""
    if is_service():
        with contextlib.suppress(OSError):
            if stat.S_ISREG(os.fstat(sys.stderr.fileno()).st_mode):
                os.ftruncate(sys.stderr.fileno(), 0)
    return terminal.settings(**given)


def _become_module(name: str, module: Sequence[str]) -> NoReturn:
    settings = _own_settings()
    become(settings, name, module, {})
