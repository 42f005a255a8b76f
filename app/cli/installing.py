"""``mlx-local install`` and ``uninstall``: the stack as services that start at login and are kept running."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import terminal
from app.cli.terminal import CommandError, say

if TYPE_CHECKING:
    from app.cli.services.installation import Installation
    from app.cli.services.system import ServiceSystem
    from app.settings import Settings

__all__ = ["install", "uninstall"]

_LINGERS = Path("/var/lib/systemd/linger")


def install(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON: what became of each service.")] = False) -> None:
    """Make the stack a set of services that start at login and are kept running; again after an upgrade or a new setting."""
    settings = terminal.settings()
    from app.cli.services.installation import check_others, plan_installation
    from app.models.catalog import load_catalog

    system = _system()
    catalog = load_catalog(settings)
    _check_owner(settings)
    check_others(settings, system)
    planned = plan_installation(settings, system)
    from app.cli.preparing import prepare_home

    _check(settings, terminal.say_nothing if as_json else say)
    prepare_home(settings, catalog, quiet=as_json)
    planned.carry_out(settings)
    if as_json:
        terminal.print_json({"home": str(settings.home), "system": system.name, "services": planned.outcome()})
    else:
        _tell(settings, planned)


def uninstall(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON: what was removed.")] = False) -> None:
    """Stop the services of this home and remove them; jobs, logs, models and settings stay."""
    settings = terminal.settings()
    from app.cli.services.installed import find_installed

    installed = find_installed(settings)
    removed = installed.services if installed is not None else []
    if installed is not None:
        installed.stop(removed, settings)
        installed.system.forget(removed)
    if as_json:
        terminal.print_json({"home": str(settings.home), "removed": [service.label for service in removed]})
    elif removed:
        say(f"Stopped and removed: {', '.join(service.label for service in removed)}.")
        say(f"Jobs, logs and settings stay in {settings.home}; models stay in the hub's cache.")
    else:
        say(f"No services of the home {settings.home} are installed.")


def _check(settings: Settings, tell: Callable[[str], None]) -> None:
    """Refuse what could not run: a whole stack, or a worker of another machine."""
    from app.cli.joining import check_cluster
    from app.cli.ownership import living
    from app.cli.preparing import check_ports, check_redis

    if settings.api_url:
        check_cluster(settings, tell)
        return
    if not living(settings.run_dir):
        check_ports(settings)
    check_redis(settings, tell)


def _system() -> ServiceSystem:
    from app.cli.services.system import find_system

    system = find_system()
    if system is None:
        msg = "Neither launchd nor systemd is here. Have whatever supervises processes on this machine run `mlx-local up`."
        raise CommandError(msg)
    return system


def _check_owner(settings: Settings) -> None:
    from app.cli.ownership import home_owner

    owner = home_owner(settings.run_dir)
    if owner is not None:
        msg = f"This home is owned by `mlx-local up` ({owner}); `mlx-local stop` ends it. Home: {settings.home}"
        raise CommandError(msg)


def _tell(settings: Settings, planned: Installation) -> None:
    from app.cli.checks_files import check_key_file
    from app.cli.services.environment import service_environment

    for label, word in planned.outcome().items():
        say(f"  {label:<28}{word}")
    named = {name: value for name, value in service_environment(settings).items() if name in os.environ and name != "PATH"}
    if named:
        say("Settings of this shell, written into the services (an `install` without them takes them out again):")
        for name, value in named.items():
            say(f"  {name}={value}")
    key_file = check_key_file(settings)
    if key_file is not None and key_file.mend:
        say(f"Warning: {key_file.found}. {key_file.mend}")
    say("They start now and at each login. `mlx-local status` says when they are ready, `mlx-local uninstall` removes them.")
    if planned.system.name == "systemd" and not (_LINGERS / getpass.getuser()).exists():
        say("They end when you log out; `sudo loginctl enable-linger $USER` has them start with the machine and stay.")
