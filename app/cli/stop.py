"""``mlx-local stop``: the end of the stack, whether its ``up`` lives, was killed, or services took its place.

Processes that something else supervises are left alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import terminal
from app.cli.terminal import CommandError, say

if TYPE_CHECKING:
    from app.cli.ownership import Holder
    from app.cli.services.installed import Installed
    from app.cli.services.table import Service
    from app.settings import Settings

__all__ = ["stop"]

_POLL_S = 0.1


def stop(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON: what was stopped.")] = False) -> None:
    """Drain and stop the `up` that owns this home, or its services."""
    settings = terminal.settings()
    from app.cli.ownership import home_owner, living
    from app.cli.services.installed import find_installed

    owner = home_owner(settings.run_dir)
    processes = living(settings.run_dir)
    tell = terminal.say_nothing if as_json else say
    if owner is not None:
        _stop_owner(settings, owner, tell)
    elif (installed := find_installed(settings)) is not None and (active := installed.active()):
        _stop_services(settings, installed, active, tell)
    elif processes:
        _stop_left(settings, processes, tell)
    else:
        tell(f"Nothing runs for the home {settings.home}.")
    if as_json:
        stopped = {"up": owner, **processes} if owner else processes
        facts = {name: {"pid": holder.pid, "since": holder.since} for name, holder in stopped.items()}
        terminal.print_json({"home": str(settings.home), "stopped": facts})


def _stop_owner(settings: Settings, owner: Holder, tell: Callable[[str], None]) -> None:
    """Have the living ``up`` drain, and wait for its end."""
    from app.cli.ownership import home_owner
    from app.cli.stopping import DRAIN_ORDER, drain_stage_s

    tell(f"Asking `mlx-local up` ({owner}) to drain.")
    with contextlib.suppress(ProcessLookupError):
        os.kill(owner.pid, signal.SIGTERM)
    deadline = time.monotonic() + drain_stage_s(settings) * (len(DRAIN_ORDER) + 1)
    while home_owner(settings.run_dir) == owner:
        if time.monotonic() >= deadline:
            msg = f"It has not stopped yet (process {owner.pid}). `mlx-local status` says what still runs."
            raise CommandError(msg)
        time.sleep(_POLL_S)
    tell("Stopped.")


def _stop_services(settings: Settings, installed: Installed, active: list[Service], tell: Callable[[str], None]) -> None:
    system, labels = installed.system, ", ".join(service.label for service in reversed(active))
    tell(f"Asking {system.name} to stop {labels}; running jobs may finish, the rest is kept.")
    installed.stop(active, settings)
    tell("Stopped, until the next login. `mlx-local restart` starts them before that, `mlx-local uninstall` removes them.")


def _stop_left(settings: Settings, left: Mapping[str, Holder], tell: Callable[[str], None]) -> None:
    """Stop what an ``up`` that was killed left; services are their supervisor's."""
    from app.cli.ownership import hold, process_lock
    from app.cli.stopping import DRAIN_ORDER, drain_stage_s, stop_living

    if not all(holder.supervisor for holder in left.values()):
        names = ", ".join(f"{name}, process {holder.pid}" for name, holder in left.items())
        msg = f"Services own this home ({names}); stop them where they are supervised: `mlx-local install` did not start them."
        raise CommandError(msg)
    drain_s = drain_stage_s(settings)
    if guard := hold(process_lock(settings.run_dir, "guard"), patience_s=drain_s * len(DRAIN_ORDER)):
        os.close(guard)  # it is done stopping them, or was killed too
    stop_living(settings.run_dir, drain_s, say=tell)
    tell("Stopped what an `up` that was killed had left.")
