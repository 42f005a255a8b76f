"""What the routes of one application share: settings, catalog, gateway, pace. Made by its lifespan, held by its state."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Annotated

from fastapi import Depends, Request

from app.api.callers import caller_of
from app.api.webhooks.tries import Tries
from app.jobs.gateway import JobGateway
from app.jobs.tally import Tally
from app.models.catalog import Catalog
from app.models.live_catalog import LiveCatalog
from app.settings import Settings

__all__ = ["Pace", "Services", "ServicesDep"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a stream may be silent, and when webhooks are tried."""

    first_byte_s: float = 10.0  # until then an error still gets its own status; after it, the stream begins
    keep_alive_s: float = 15.0  # a comment at least this often: proxies and clients drop silent connections
    look_s: float = 1.0  # the stream of a job that waits says where it stands, when that has changed, at most so often
    webhooks: Tries = field(default_factory=Tries)

    @property
    def tick_s(self) -> float:
        """How often a silent stream asks what there is to say."""
        return min(self.keep_alive_s, self.look_s)


@dataclass(slots=True)
class Services:
    """One application's parts."""

    settings: Settings
    live_catalog: LiveCatalog
    gateway: JobGateway
    pace: Pace
    tally: Tally = field(default_factory=Tally)  # what this process has counted
    stopping: asyncio.Event = field(default_factory=asyncio.Event)  # the process ends: leave, and keep the jobs
    batches_changed: asyncio.Event = field(default_factory=asyncio.Event)  # one was made or cancelled here: its clerk should look
    # Held by those who decode a stranger's picture: a large one takes half a gigabyte meanwhile.
    decoding: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    # The same of videos, which take a minute at the worst: pictures do not wait for them.
    watching: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    @property
    def catalog(self) -> Catalog:
        """The catalog as it is now."""
        return self.live_catalog.current


async def get_services(request: Request) -> Services:
    """Return the parts of the application that serves *request*; its gateway as the caller sees it."""
    services: Services = request.app.state.services
    caller = caller_of(request)
    return services if caller.name is None else replace(services, gateway=services.gateway.as_seen_by(caller))


ServicesDep = Annotated[Services, Depends(get_services)]
