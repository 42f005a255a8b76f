"""Which services are installed, and of which home. Their own files say it, so nothing can be out of step with them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.cli.services.environment import HOME
from app.cli.services.system import STOPPED, ServiceSystem, find_system
from app.cli.services.table import SERVICES, Service
from app.cli.stopping import DRAIN_ORDER, drain_stage_s

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from app.settings import Settings

__all__ = ["Installed", "find_installed", "home_of"]


@dataclass(frozen=True, slots=True)
class Installed:
    """The services of one home: at least one."""

    system: ServiceSystem
    services: list[Service]

    def states(self) -> Mapping[str, str]:
        """Return for people how each is, by its name."""
        return self.system.states(self.services)

    def active(self) -> list[Service]:
        """Return those that run, or are tried again and again, in the order in which they start."""
        states = self.states()
        return [service for service in self.services if states[service.name] != STOPPED]

    def named(self, names: Collection[str]) -> list[Service]:
        """Return those of *names*, in the order in which they start."""
        return [service for service in self.services if service.name in names]

    def stop(self, services: list[Service], settings: Settings) -> None:
        """Drain and stop *services*, and wait for it."""
        limit_s = drain_stage_s(settings) * len(DRAIN_ORDER)
        self.system.stop(services, limit_s)


def find_installed(settings: Settings) -> Installed | None:
    """Return the services of this home, None where none are installed."""
    system = find_system()
    if system is None:
        return None
    services = [service for service in SERVICES if _is(settings.home, home_of(system, service))]
    return Installed(system, services) if services else None


def home_of(system: ServiceSystem, service: Service) -> str | None:
    """Return the home of an installed service; None of one that is not installed, or not by us."""
    file = system.file_of(service)
    return system.read_environment(file.read_bytes()).get(HOME) if file.is_file() else None


def _is(home: Path, other: str | None) -> bool:
    return other is not None and os.path.realpath(other) == os.path.realpath(home)
