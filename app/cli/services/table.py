"""Which services there are, in the order in which they start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["SERVICES", "Service", "services_of"]


@dataclass(frozen=True, slots=True)
class Service:
    """One process of the stack, supervised by the system."""

    name: str  # of the process, and of its entry point
    label: str  # what launchd calls it, and so users

    @property
    def unit(self) -> str:
        """What systemd calls it."""
        return f"{self.label.removeprefix('com.')}.service"


SERVICES = (
    Service("redis", "com.mlx-redis"),
    Service("api", "com.mlx-server"),
    Service("audio", "com.mlx-audio-server"),
    Service("worker", "com.mlx-worker"),
    Service("daemon", "com.mlx-transcribe-daemon"),
)


def services_of(settings: Settings) -> list[Service]:
    """Return the services of a home: all, without Redis where there is another one; the worker alone where another machine has the rest."""
    if settings.api_url:
        return [service for service in SERVICES if service.name == "worker"]
    return [service for service in SERVICES if service.name != "redis" or settings.redis_url is None]
