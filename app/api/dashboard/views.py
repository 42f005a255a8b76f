"""What pages show, and how each part of it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from app.api.dashboard.happenings import Happenings
from app.api.dashboard.rendering import render
from app.errors import JobNotFound
from app.jobs.record import TERMINAL, Job, JobState
from app.jobs.search import Found, JobFilter, search

if TYPE_CHECKING:
    from app.api.dashboard.board import Drawer
    from app.api.dashboard.moments import Moment
    from app.jobs.gateway import JobGateway

__all__ = ["JobView", "JobsView", "NoView", "OverviewView", "query_of"]

_PARTS = ("running", "waiting", "memory", "queues", "figures", "downloads", "recordings", "workers")
_PAGE = 50
_LOOK_FURTHER = 4000  # records, for a page that is opened
_LOOK_AGAIN = 200  # for one that is watched
_CHILDREN = 100


def query_of(wanted: JobFilter, **changes: str | None) -> str:
    """Return a filter as the query of an address, with some things otherwise."""
    asked = {name: value for name, value in wanted.model_dump(mode="json").items() if value}
    return urlencode({name: value for name, value in (asked | changes).items() if value})


def _head(moment: Moment) -> dict[str, str]:
    return {"head": render("fragments/head.html", moment=moment)}


@dataclass(frozen=True, slots=True)
class NoView:
    """A page that shows only what every page does."""

    def drawer(self) -> Drawer:
        """Return who draws it."""
        return _HeadDrawer()


class _HeadDrawer:
    async def draw(self, moment: Moment, gateway: JobGateway) -> dict[str, str]:  # noqa: ARG002 - a Drawer's
        return _head(moment)


@dataclass(frozen=True, slots=True)
class OverviewView:
    """What runs, what waits and why, and what there is to run it."""

    def drawer(self) -> Drawer:
        """Return who draws it."""
        return _OverviewDrawer()


class _OverviewDrawer:
    async def draw(self, moment: Moment, gateway: JobGateway) -> dict[str, str]:  # noqa: ARG002 - a Drawer's
        return _head(moment) | {name: render(f"fragments/{name}.html", moment=moment) for name in _PARTS}


@dataclass(frozen=True, slots=True)
class JobsView:
    """A page of the list of jobs."""

    wanted: JobFilter
    after: str | None = None

    def drawer(self) -> Drawer:
        """Return who draws it."""
        return _JobsDrawer(self)


class _JobsDrawer:
    """Looks far once; after that at what is new and at what is shown, however many jobs there are."""

    def __init__(self, view: JobsView) -> None:
        self._view = view
        self._ids: list[str] | None = None
        self._shown: Sequence[Job] = ()
        self._more: str | None = None

    async def draw(self, moment: Moment, gateway: JobGateway) -> dict[str, str]:
        if not moment.away:
            await self._look(gateway)
        facts = {"moment": moment, "view": self._view, "query": partial(query_of, self._view.wanted), "page": _PAGE}
        return _head(moment) | {
            "states": render("fragments/states.html", **facts),
            "jobs": render("fragments/jobs.html", jobs=self._shown, more=self._more, known=self._ids is not None, **facts),
        }

    async def _look(self, gateway: JobGateway) -> None:
        view, before = self._view, self._ids
        if before is None:
            found = await gateway.read(partial(search, wanted=view.wanted, after=view.after, limit=_PAGE, look_at=_LOOK_FURTHER))
            self._shown, self._more = found
        elif view.after is None:
            found = await gateway.read(partial(search, wanted=view.wanted, limit=_PAGE, look_at=_LOOK_AGAIN))
            await self._join(found, before, gateway)
        else:
            self._shown = await self._still(before, gateway)
        self._ids = [job.id for job in self._shown]

    async def _join(self, found: Found, before: Sequence[str], gateway: JobGateway) -> None:
        """Put what is new before what was shown, where the look did not reach that."""
        self._shown = found.jobs
        if found.more is None or len(found.jobs) >= _PAGE:
            self._more = found.more
            return
        fresh = {job.id for job in found.jobs}
        older = await self._still([job_id for job_id in before if job_id not in fresh], gateway)
        self._shown = [*found.jobs, *older][:_PAGE]
        if len(self._shown) == _PAGE:
            self._more = self._shown[-1].id

    async def _still(self, ids: Sequence[str], gateway: JobGateway) -> list[Job]:
        jobs = await gateway.read(lambda reader: reader.find_many(ids))
        return [jobs[job_id] for job_id in ids if job_id in jobs and self._view.wanted.passes(jobs[job_id])]


@dataclass(frozen=True, slots=True)
class JobView:
    """One job."""

    job_id: str

    def drawer(self) -> Drawer:
        """Return who draws it."""
        return _JobDrawer(self.job_id)


class _JobDrawer:
    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._job: Job | None = None
        self._children: Sequence[Job] = ()
        self._happenings = Happenings(job_id)

    async def draw(self, moment: Moment, gateway: JobGateway) -> dict[str, str]:
        if not moment.away:
            await self._look(gateway)
        job = self._job
        facts = {"job": job, "children": self._children, "told": self._happenings.told(job) if job else (), "ended": _ended(job)}
        return _head(moment) | {"job": render("fragments/job.html", **facts)}

    async def _look(self, gateway: JobGateway) -> None:
        jobs: Mapping[str, Job] = await gateway.read(lambda reader: reader.find_many([self._job_id]))
        self._job = jobs.get(self._job_id)
        if self._job is None:
            return
        await gateway.read(self._happenings.read)
        if self._job.child_count:
            try:
                self._children = await gateway.list_jobs(parent=self._job_id, limit=_CHILDREN)
            except JobNotFound:  # forgotten between the two looks
                self._job = None


def _ended(job: Job | None) -> bool:
    return job is not None and JobState(job.state) in TERMINAL
