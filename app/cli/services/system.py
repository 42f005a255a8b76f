"""What launchd and systemd have in common, and which of them is here."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from app.cli.services.table import Service

__all__ = ["RUNNING", "STOPPED", "ServiceSystem", "find_system"]

RUNNING = "running"
STOPPED = "stopped"  # and not about to be started again


class ServiceSystem(Protocol):
    """Supervises services for their user, who is logged in."""

    @property
    def name(self) -> str:
        """launchd, or systemd."""
        ...

    def file_of(self, service: Service) -> Path:
        """Return where a service is described."""
        ...

    def render(self, service: Service, environment: Mapping[str, str], run_dir: Path, stop_s: float) -> bytes:
        """Return the description of a service.

        Args:
            service: Which.
            environment: What it gets beside what the template gives it.
            run_dir: Of its home.
            stop_s: What it has to end in before it is killed.
        """
        ...

    def read_environment(self, description: bytes) -> Mapping[str, str]:
        """Return the environment in a description; nothing of one that is not ours."""
        ...

    def start(self, services: Sequence[Service]) -> None:
        """Start services as they are described now, and at each login.

        Raises:
            CommandError: The system refuses.
        """
        ...

    def stop(self, services: Sequence[Service], limit_s: float) -> None:
        """Have services end, in reverse order, and wait for it. At the next login they start again.

        Raises:
            CommandError: One has not ended after *limit_s*.
        """
        ...

    def forget(self, services: Sequence[Service]) -> None:
        """Remove services that do not run: no login starts them any more."""
        ...

    def states(self, services: Sequence[Service]) -> Mapping[str, str]:
        """Return for people how each service is, by its name: :data:`RUNNING`, :data:`STOPPED`, or else in the system's own words."""
        ...


def find_system() -> ServiceSystem | None:
    """Return the one that is here; None: neither."""
    from app.cli.services.launchd import Launchd
    from app.cli.services.systemd import Systemd

    if shutil.which("launchctl"):
        return Launchd()
    return Systemd() if shutil.which("systemctl") else None
