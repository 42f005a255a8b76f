"""``mlx-local up``: the whole stack in the foreground.

``up`` finds out everything that would keep the stack from starting before it
starts anything: settings, catalog, owner of the home, ports, Redis.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

import typer

from app.cli import terminal
from app.cli.terminal import say

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
    from app.cli.joining import refuse_to_serve
    from app.cli.ownership import own_home
    from app.cli.preparing import check_ports, check_redis, prepare_home
    from app.cli.stopping import drain_stage_s, stop_living
    from app.jobs.connection import connect
    from app.models.catalog import load_catalog
    from app.named_keys import check_exposure

    refuse_to_serve(settings)
    check_exposure(settings)
    catalog = load_catalog(settings)
    drain_s = drain_stage_s(settings)
    lock = own_home(settings.run_dir)
    guard = Guard(settings.run_dir, drain_s)
    try:
        guard.ensure()
        stop_living(settings.run_dir, drain_s, say=lambda line: say(f"Left by an `up` that was killed: {line}"))
        check_ports(settings)
        check_redis(settings, say)
        prepare_home(settings, catalog)
        with contextlib.closing(connect(settings, retries=0)) as client:
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
    from app.named_keys import NamedKeys

    host = local_host(settings)
    address = f"http://{f'[{host}]' if ':' in host else host}"
    named = "KEY" if NamedKeys(settings.home).all() else ""
    word = "$MLX_LOCAL_API_KEY" if settings.api_key else named
    key = f' -H "Authorization: Bearer {word}"' if word else ""
    body = '{"model": "chat", "messages": [{"role": "user", "content": "What is the capital of France?"}]}'
    say()
    say(f"Ready.  {address}:{settings.port}/v1   audio: {address}:{settings.audio_port}/v1   state and logs: {settings.home}")
    if missing := missing_for_chat(settings):
        say(f"A chat cannot be answered yet: {missing}")
    say("Try:    mlx-local chat 'What is the capital of France?'")
    say(f"or:     curl {address}:{settings.port}/v1/chat/completions{key} -H 'Content-Type: application/json' -d '{body}'")
    say("Ctrl-C drains and stops.")
    say()
