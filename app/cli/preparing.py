"""What is seen to before anything of the stack starts: ports, Redis, the home's files, the starter models."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.cli.ports import listen_error
from app.cli.terminal import NOT_RUNNING, USAGE, CommandError

if TYPE_CHECKING:
    from app.models.catalog import Catalog
    from app.settings import Settings

__all__ = ["check_ports", "check_redis", "prepare_home"]

_OLDEST_REDIS = 7  # the oldest that has what the scripts use


def check_ports(settings: Settings) -> None:
    """Refuse to start where a port is taken: found out now, it is one line; later, a process that dies again and again."""
    if settings.port == settings.audio_port:
        msg = f"MLX_LOCAL_AUDIO_PORT: {settings.audio_port} is the port of the main API too (MLX_LOCAL_PORT); choose two."
        raise CommandError(msg, USAGE)
    for name, port in (("MLX_LOCAL_PORT", settings.port), ("MLX_LOCAL_AUDIO_PORT", settings.audio_port)):
        try:
            error = listen_error(settings.host, port)
        except OSError as unknown:
            msg = f"MLX_LOCAL_HOST: {settings.host!r} is no address of this machine ({unknown})."
            raise CommandError(msg, USAGE) from None
        if error is not None:
            raise _port_error(name, settings.host, port, error)


def _port_error(name: str, host: str, port: int, error: OSError) -> CommandError:
    if error.errno == errno.EADDRINUSE:
        return CommandError(f"Port {port} is in use; stop what uses it, or set {name} to a free one.")
    if error.errno == errno.EACCES:
        return CommandError(f"Port {port} ({name}) needs privileges; choose one of 1024 or above.", USAGE)
    return CommandError(f"MLX_LOCAL_HOST: cannot listen on {host} ({error.strerror}).", USAGE)


def check_redis(settings: Settings, say: Callable[[str], None]) -> None:
    """Refuse a Redis that cannot keep jobs, and say which one does.

    Raises:
        CommandError: There is none, or it is too old.
    """
    from app.cli.redis_server import choose_server

    if settings.redis_url is None:
        server = choose_server(settings.redis_dir)
        say(f"Redis: {server}, data in {settings.redis_dir}.")
        return
    from redis import AuthenticationError, RedisError

    from app.jobs.connection import connect

    try:
        with contextlib.closing(connect(settings, retries=0)) as client:
            facts = dict(client.info())
    except AuthenticationError:
        msg = "MLX_LOCAL_REDIS_URL: the Redis there refuses the user or the password, or wants one where the address has none."
        raise CommandError(msg, USAGE) from None
    except (RedisError, OSError) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            msg = "MLX_LOCAL_REDIS_URL: the certificate there is not trusted; add ?ssl_ca_certs=/path/ca.pem, or set SSL_CERT_FILE."
            raise CommandError(msg, USAGE) from None
        if "WRONG_VERSION_NUMBER" in str(error):
            msg = "MLX_LOCAL_REDIS_URL: the Redis there speaks no TLS at that port; redis:// is for that, and rediss:// for TLS."
            raise CommandError(msg, USAGE) from None
        if isinstance(error.__context__, FileNotFoundError | PermissionError) and not settings.redis_url.startswith("unix:"):
            msg = (
                f"MLX_LOCAL_REDIS_URL: a file that the address names, such as ssl_ca_certs, cannot be read ({error.__context__.strerror})."
            )
            raise CommandError(msg, USAGE) from None
        # The address may carry a password, so it is not repeated.
        msg = f"MLX_LOCAL_REDIS_URL: the Redis there does not answer ({error})."
        raise CommandError(msg, NOT_RUNNING) from None
    version = str(facts.get("redis_version", "0"))
    if int(version.split(".", 1)[0]) < _OLDEST_REDIS:
        msg = f"MLX_LOCAL_REDIS_URL: the server there is version {version}; {_OLDEST_REDIS} or later is needed."
        raise CommandError(msg, USAGE)
    say("Redis: yours, of MLX_LOCAL_REDIS_URL.")
    if facts.get("maxmemory_policy", "noeviction") != "noeviction":
        say(f"Warning: its maxmemory-policy is {facts['maxmemory_policy']}, so it may drop accepted jobs; set noeviction.")
    if not facts.get("aof_enabled", 1):
        say("Warning: it keeps no append-only file, so its crash loses accepted jobs; set appendonly yes.")


def prepare_home(settings: Settings, catalog: Catalog, *, quiet: bool = False) -> None:
    """Write the files that the home has for its user, and fetch the starter models that are missing."""
    from app.cli.home_files import write_home_files
    from app.cli.starters import fetch_starters

    write_home_files(settings.home)
    settings.run_dir.mkdir(mode=0o700, exist_ok=True)  # launchd opens a file for a service's stderr there, and makes no folder
    fetch_starters(settings, catalog, quiet=quiet)
