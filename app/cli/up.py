"""``mlx-local up``: the whole stack in the foreground.

``up`` finds out everything that would keep the stack from starting before it
starts anything: settings, catalog, owner of the home, ports, Redis.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from typing import TYPE_CHECKING

import typer

from app.cli import terminal
from app.cli.ports import listen_error
from app.cli.terminal import NOT_RUNNING, USAGE, CommandError, say

if TYPE_CHECKING:
    import redis

    from app.cli.guard import Guard
    from app.settings import Settings

__all__ = ["up"]


def up() -> None:
    """Start everything and keep it running; Ctrl-C drains and stops."""
    # Until the supervisor takes over, a polite end is what Ctrl-C does: clean up and leave.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = terminal.settings()
    from app.cli.guard import Guard
    from app.cli.ownership import own_home
    from app.cli.stopping import drain_stage_s, stop_living
    from app.jobs.connection import connect
    from app.models.catalog import load_catalog

    catalog = load_catalog(settings)
    drain_s = drain_stage_s(settings)
    lock = own_home(settings.run_dir)
    guard = Guard(settings.run_dir, drain_s)
    try:
        guard.ensure()
        stop_living(settings.run_dir, drain_s, say=lambda line: say(f"Left by an `up` that was killed: {line}"))
        _check_ports(settings)
        with contextlib.closing(connect(settings, retries=0)) as client:
            _check_redis(settings, client)
            from app.cli.home_files import write_home_files
            from app.cli.starters import fetch_starters

            write_home_files(settings.home)
            fetch_starters(settings, catalog)
            code = _supervise(settings, client, guard)
    finally:
        guard.dismiss()
        os.close(lock)
    raise typer.Exit(code)


def _supervise(settings: Settings, client: redis.Redis, guard: Guard) -> int:
    from app.cli.programs import process_table
    from app.cli.supervisor import Supervisor

    supervisor = Supervisor(
        process_table(settings, client),
        stderr_dir=settings.run_dir,
        say=say,
        on_ready=lambda: _greet(settings),
        watcher=guard,
    )
    code = supervisor.run()
    say("Stopped.")
    return code


def _greet(settings: Settings) -> None:
    """Print the addresses, a first request, and what a chat still lacks."""
    from app.cli.programs import local_host, missing_for_chat

    host = local_host(settings)
    address = f"http://{f'[{host}]' if ':' in host else host}"
    key = ' -H "Authorization: Bearer $MLX_LOCAL_API_KEY"' if settings.api_key else ""
    body = '{"model": "chat", "messages": [{"role": "user", "content": "What is the capital of France?"}]}'
    say()
    say(f"Ready.  {address}:{settings.port}/v1   audio: {address}:{settings.audio_port}/v1   state and logs: {settings.home}")
    if missing := missing_for_chat(settings):
        say(f"A chat cannot be answered yet: {missing}")
    say("Try:    mlx-local chat 'What is the capital of France?'")
    say(f"or:     curl {address}:{settings.port}/v1/chat/completions{key} -H 'Content-Type: application/json' -d '{body}'")
    say("Ctrl-C drains and stops.")
    say()


def _check_ports(settings: Settings) -> None:
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


def _check_redis(settings: Settings, client: redis.Redis) -> None:
    from app.cli.redis_server import choose_server

    if settings.redis_url is None:
        server = choose_server(settings.redis_dir)
        say(f"Redis: {server}, data in {settings.redis_dir}.")
        return
    from redis import RedisError

    try:
        facts = dict(client.info())
    except (RedisError, OSError) as error:
        # The address may carry a password, so it is not repeated.
        msg = f"MLX_LOCAL_REDIS_URL: the Redis there does not answer ({error})."
        raise CommandError(msg, NOT_RUNNING) from None
    version = str(facts.get("redis_version", "0"))
    if int(version.split(".", 1)[0]) < 7:  # noqa: PLR2004 - the oldest that has what the scripts use
        msg = f"MLX_LOCAL_REDIS_URL: the server there is version {version}; 7 or later is needed."
        raise CommandError(msg, USAGE)
    say("Redis: yours, of MLX_LOCAL_REDIS_URL.")
    if facts.get("maxmemory_policy", "noeviction") != "noeviction":
        say(f"Warning: its maxmemory-policy is {facts['maxmemory_policy']}, so it may drop accepted jobs; set noeviction.")
    if not facts.get("aof_enabled", 1):
        say("Warning: it keeps no append-only file, so its crash loses accepted jobs; set appendonly yes.")
