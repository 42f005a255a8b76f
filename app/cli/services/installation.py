"""How the services of a home are to be, and what is to be done so that they are.

Idempotent: a service whose description is as it should be, and that runs, is
left alone. One that is wanted no more (Redis, once there is another) goes.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.services.environment import service_environment
from app.cli.services.installed import Installed, home_of
from app.cli.services.system import RUNNING, ServiceSystem
from app.cli.services.table import SERVICES, Service, services_of
from app.cli.stopping import stop_limit_s
from app.cli.terminal import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.settings import Settings

__all__ = ["Installation", "check_others", "plan_installation"]


@dataclass(frozen=True, slots=True)
class Installation:
    """What is to be done. Each service is in one of these, in the order in which they start."""

    system: ServiceSystem
    descriptions: Mapping[str, bytes]  # of all that are wanted, by name
    new: list[Service]
    changed: list[Service]
    stopped: list[Service]  # described as they should be; they only have to be started
    unchanged: list[Service]
    unwanted: list[Service]

    def carry_out(self, settings: Settings) -> None:
        """Stop what changes or goes, write, start what does not run.

        Raises:
            CommandError: The system refuses, or a file cannot be written.
        """
        going = [service for service in SERVICES if service in self.changed or service in self.unwanted]
        Installed(self.system, going).stop(going, settings)
        self.system.forget(self.unwanted)
        for service in (*self.new, *self.changed):
            _write(self.system.file_of(service), self.descriptions[service.name])
        self.system.start([service for service in SERVICES if service in self.new or service in self.changed or service in self.stopped])

    def outcome(self) -> dict[str, str]:
        """Return in a word what becomes of each service, by label."""
        words = {
            "installed": self.new,
            "changed": self.changed,
            "started": self.stopped,
            "unchanged": self.unchanged,
            "removed": self.unwanted,
        }
        found = {service: word for word, services in words.items() for service in services}
        return {service.label: found[service] for service in SERVICES if service in found}


def plan_installation(settings: Settings, system: ServiceSystem) -> Installation:
    """Return what is to be done so that the services of this home are as *settings* say.

    Raises:
        CommandError: Something in the environment cannot be written into a service.
    """
    environment, wanted = service_environment(settings), services_of(settings)
    descriptions = {
        service.name: system.render(service, environment, settings.run_dir, stop_limit_s(settings, service.name)) for service in wanted
    }
    there = [service for service in SERVICES if home_of(system, service) is not None]
    same = [service for service in wanted if service in there and system.file_of(service).read_bytes() == descriptions[service.name]]
    states = system.states(same) if same else {}
    running = [service for service in same if states[service.name] == RUNNING]
    return Installation(
        system,
        descriptions,
        new=[service for service in wanted if service not in there],
        changed=[service for service in wanted if service in there and service not in same],
        stopped=[service for service in same if service not in running],
        unchanged=running,
        unwanted=[service for service in there if service not in wanted],
    )


def check_others(settings: Settings, system: ServiceSystem) -> None:
    """Refuse to take over the services of another home.

    Raises:
        CommandError: There are such.
    """
    for service in SERVICES:
        home = home_of(system, service)
        if home is not None and os.path.realpath(home) != os.path.realpath(settings.home):
            msg = f"Services of another home are installed: {home}. `MLX_LOCAL_HOME='{home}' mlx-local uninstall` removes them."
            raise CommandError(msg)
        if home is None and system.file_of(service).exists():
            msg = f"{system.file_of(service)} is not ours; move it away."
            raise CommandError(msg)


def _write(file: Path, description: bytes) -> None:
    """Write a description, whole or not at all; nobody else needs to read it."""
    fresh: Path | None = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as staged:
            fresh = Path(staged.name)
            staged.write(description)
        fresh.chmod(0o644)  # launchd refuses what others may write, and starts what it can read
        fresh.replace(file)
    except OSError as error:
        if fresh is not None:
            with contextlib.suppress(OSError):
                fresh.unlink()
        msg = f"{file} cannot be written: {error.strerror}."
        raise CommandError(msg) from None
