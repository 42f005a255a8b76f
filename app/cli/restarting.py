"""``mlx-local restart``: each process drains, ends and is started again by whoever supervises it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import terminal
from app.cli.terminal import NOT_RUNNING, CommandError, say

if TYPE_CHECKING:
    from app.cli.ownership import Holder
    from app.cli.services.installed import Installed
    from app.settings import Settings

__all__ = ["ProcessName", "restart"]

_POLL_S = 0.1
_START_S = 60.0  # for its supervisor to start it again


class ProcessName(StrEnum):
    """A process of the stack."""

    REDIS = "redis"
    API = "api"
    AUDIO = "audio"
    WORKER = "worker"
    DAEMON = "daemon"


_ALL = (ProcessName.API, ProcessName.AUDIO, ProcessName.WORKER, ProcessName.DAEMON)


def restart(
    names: Annotated[list[ProcessName] | None, typer.Argument(help="Which; none: all but redis.", metavar="[NAME]...")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: what was restarted.")] = False,
) -> None:
    """Restart processes, running jobs first: those of the services, also where they were stopped, or of the `up` that owns this home."""
    settings = terminal.settings()
    from app.cli.ownership import home_owner
    from app.cli.services.installed import find_installed

    wanted = list(dict.fromkeys(names or _ALL))
    tell = terminal.say_nothing if as_json else say
    owner = home_owner(settings.run_dir)
    installed = find_installed(settings)
    if owner is not None:
        done = _restart_children(settings, wanted, tell)
    elif installed is not None:
        done = _restart_services(settings, installed, wanted, tell)
    else:
        msg = f"Nothing supervises the home {settings.home}. `mlx-local up` starts it, `mlx-local install` makes it services."
        raise CommandError(msg, NOT_RUNNING)
    if as_json:
        terminal.print_json({"home": str(settings.home), "restarted": done})


def _restart_services(settings: Settings, installed: Installed, wanted: Sequence[str], tell: Callable[[str], None]) -> list[str]:
    active, named = installed.active(), installed.named(wanted)
    tell(f"Asking {installed.system.name} to restart {', '.join(service.label for service in named)}; running jobs may finish.")
    installed.stop([service for service in named if service in active], settings)
    # All others need Redis, which a stop has ended too.
    installed.system.start([service for service in installed.services if service in named or service.name == ProcessName.REDIS])
    for service in named:
        tell(f"{service.label} was {'restarted' if service in active else 'started'}.")
    return [service.name for service in named]


def _restart_children(settings: Settings, wanted: Sequence[str], tell: Callable[[str], None]) -> list[str]:
    """Have children of ``up`` end, one after the other in the order that loses nothing; it starts them again."""
    from app.cli.ownership import living
    from app.cli.stopping import DRAIN_ORDER, stop_limit_s

    done = []
    for name in (name for names in DRAIN_ORDER for name in names if name in wanted):
        before = living(settings.run_dir).get(name)
        if before is None:
            continue
        tell(f"Restarting {name} (process {before.pid}).")
        with contextlib.suppress(ProcessLookupError):
            os.kill(before.pid, signal.SIGTERM)
        _wait_for_next(settings, name, before, stop_limit_s(settings, name) + _START_S)
        done.append(name)
    return done


def _wait_for_next(settings: Settings, name: str, before: Holder, limit_s: float) -> None:
    from app.cli.ownership import living

    deadline = time.monotonic() + limit_s
    while (now := living(settings.run_dir).get(name)) is None or now == before:
        if time.monotonic() >= deadline:
            msg = f"{name} was asked to end and is not back after {limit_s:.0f} s; `mlx-local status` and `mlx-local logs` tell more."
            raise CommandError(msg)
        time.sleep(_POLL_S)
