"""One look for all who watch: pages are drawn again when something has changed, and sent in parts.

A process looks at the store for the dashboard only while somebody watches, at
most four times a second and once a second at the least. Each view is drawn once
for all who watch it, and only parts that differ are sent. A browser that reads
slowly gets the newest state of each part and not the ones between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from app.api.dashboard.moments import Moment, Watcher
from app.errors import StoreUnavailable
from app.jobs.moves_log import latest_move
from app.log import get_logger

if TYPE_CHECKING:
    from app.jobs.gateway import JobGateway
    from app.settings import Settings

__all__ = ["Board", "Drawer", "View"]

log = get_logger("dashboard")

_TICK_S = 0.25
_AT_LEAST_EVERY_S = 1.0
_PATIENCE_S = 2.0  # then the page says that the store does not answer


class Drawer(Protocol):
    """Draws one view, again and again; it may remember what it has drawn."""

    async def draw(self, moment: Moment, gateway: JobGateway) -> dict[str, str]:
        """Return the view's parts by the id of their element.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        ...


class View(Protocol):
    """What a page shows: hashable, and equal where the pages are."""

    def drawer(self) -> Drawer:
        """Return who draws it."""
        ...

    def __hash__(self) -> int: ...

    def __eq__(self, other: object, /) -> bool: ...


@dataclass(slots=True)
class _Reader:
    """One browser: what it has not been sent yet."""

    parts: dict[str, str]
    news: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Open:
    """A view that somebody watches."""

    drawer: Drawer
    parts: dict[str, str] = field(default_factory=dict)
    readers: list[_Reader] = field(default_factory=list)


class Board:
    """The dashboard of one process.

    Args:
        settings: Of this process.
        gateway: To the jobs.
    """

    def __init__(self, settings: Settings, gateway: JobGateway) -> None:
        self._gateway = gateway
        self._watcher = Watcher(settings)
        self._moment = Moment()
        self._seen_s = float("-inf")
        self._looking: asyncio.Task[Moment] | None = None
        self._open: dict[View, _Open] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._fresh = asyncio.Event()

    async def draw(self, view: View) -> dict[str, str]:
        """Return the parts of *view* as they are now."""
        return await self._draw(view.drawer())

    async def watch(self, view: View) -> AsyncGenerator[Mapping[str, str]]:
        """Yield the parts of *view* that have changed, whenever some have; at first all of them."""
        shared = self._open.get(view)
        if shared is None:
            shared = self._open[view] = _Open(view.drawer())
        reader = _Reader(dict(shared.parts))
        if reader.parts:
            reader.news.set()
        shared.readers.append(reader)
        self._fresh.set()
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._run())
        try:
            while True:
                await reader.news.wait()
                reader.news.clear()
                parts, reader.parts = reader.parts, {}
                yield parts
        finally:
            shared.readers.remove(reader)
            if not shared.readers and self._open.get(view) is shared:
                del self._open[view]

    def close(self) -> None:
        """Look no more."""
        for task in (self._ticking, self._looking):
            if task is not None:
                task.cancel()

    async def _run(self) -> None:
        while self._open:
            self._fresh.clear()
            began_s = time.monotonic()
            for shared in list(self._open.values()):
                try:
                    self._deliver(shared, await self._draw(shared.drawer))
                except Exception as error:  # the task's boundary: whoever watches another view must not hear of it, and this one goes on
                    log.exception("dashboard.failed", error=type(error).__name__)
            await self._rest(began_s)

    async def _rest(self, began_s: float) -> None:
        """Wait until there is something to look for."""
        while True:
            await asyncio.sleep(_TICK_S)
            if self._fresh.is_set() or time.monotonic() - began_s >= _AT_LEAST_EVERY_S or self._moment.away:
                return
            try:
                if await self._gateway.read(lambda reader: latest_move(reader.client)) != self._moment.latest:
                    return
            except StoreUnavailable:
                return

    @staticmethod
    def _deliver(shared: _Open, parts: Mapping[str, str]) -> None:
        changed = {name: html for name, html in parts.items() if shared.parts.get(name) != html}
        shared.parts |= changed
        for reader in shared.readers:
            if changed:
                reader.parts |= changed
                reader.news.set()

    async def _draw(self, drawer: Drawer) -> dict[str, str]:
        moment = await self._now()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await drawer.draw(moment, self._gateway)
        except (StoreUnavailable, TimeoutError):
            return await drawer.draw(replace(moment, away=True), self._gateway)

    async def _now(self) -> Moment:
        """Return what was seen at this moment, or a quarter of a second ago."""
        if time.monotonic() - self._seen_s < _TICK_S / 2:
            return self._moment
        # One look at a time: a store that hangs must not take a thread for each tick.
        looking = self._looking = self._looking or asyncio.create_task(self._look())
        done, _ = await asyncio.wait({looking}, timeout=_PATIENCE_S)
        if done:
            self._looking = None if self._looking is looking else self._looking
            self._moment = looking.result()
        else:
            self._moment = replace(self._moment, away=True)
        self._seen_s = time.monotonic()
        return self._moment

    async def _look(self) -> Moment:
        try:
            return await self._gateway.read(self._watcher.look)
        except StoreUnavailable:
            return replace(self._moment, away=True)
