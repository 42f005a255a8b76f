"""``/dashboard``: its pages and their news. What its forms do is in :mod:`app.api.dashboard.actions`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.sse import format_sse_event
from pydantic_core import to_json

from app.api.dashboard.board import Board, View
from app.api.dashboard.contents import answer_of, request_of
from app.api.dashboard.pages import BoardDep, PageRoute, page
from app.api.dashboard.rendering import ASSETS, asset
from app.api.dashboard.session import ROOT
from app.api.dashboard.views import JobsView, JobView, NoView, OverviewView, query_of
from app.api.errors import RouteNotFound
from app.api.services import Services, ServicesDep
from app.api.sse import KEEP_ALIVE, EventStream, with_pauses
from app.errors import InferenceError, JobNotFound, StoreUnavailable
from app.jobs.record import JobKind, JobState, Lane
from app.jobs.search import JobFilter
from app.models.catalog import Catalog

__all__ = ["router"]

router = APIRouter(prefix=ROOT, route_class=PageRoute, include_in_schema=False)

_MODEL_CHARACTERS = 200
_TEXT_CHARACTERS = 80
_PATIENCE_S = 2.0
_YEAR_S = 365 * 86400


@router.get("")
async def show_overview(request: Request) -> Response:
    """Show what runs, what waits and why."""
    return await page(request, "overview.html", OverviewView(), events=f"{ROOT}/events")


@router.get("/head/events")
async def follow_head(services: ServicesDep, board: BoardDep) -> Response:
    """Send what changes of what every page shows."""
    return _news(services, board, NoView())


@router.get("/events")
async def follow_overview(services: ServicesDep, board: BoardDep) -> Response:
    """Send what changes there."""
    return _news(services, board, OverviewView())


def _jobs_view(state: str = "", kind: str = "", model: str = "", lane: str = "", text: str = "", after: str = "") -> JobsView:
    """Read a query. A form sends every field, so an empty one asks for nothing, as does one that means nothing."""
    wanted = JobFilter(
        state=JobState(state) if state in list(JobState) else None,
        kind=JobKind(kind) if kind in list(JobKind) else None,
        model=model[:_MODEL_CHARACTERS] or None,
        lane=Lane(lane) if lane in list(Lane) else None,
        text=text.strip()[:_TEXT_CHARACTERS],
    )
    return JobsView(wanted, after[:_TEXT_CHARACTERS] or None)


@router.get("/jobs")
async def show_jobs(request: Request, services: ServicesDep) -> Response:
    """Show a page of the jobs that a filter lets through."""
    view = _jobs_view(**_asked(request))
    query = query_of(view.wanted, after=view.after)
    events = f"{ROOT}/jobs/events" + (f"?{query}" if query else "")
    models = _models(services.catalog, view.wanted.model)
    return await page(request, "jobs.html", view, events=events, wanted=view.wanted, kinds=list(JobKind), lanes=list(Lane), models=models)


@router.get("/jobs/events")
async def follow_jobs(request: Request, services: ServicesDep, board: BoardDep) -> Response:
    """Send what changes there."""
    return _news(services, board, _jobs_view(**_asked(request)))


@router.get("/jobs/{job_id}")
async def show_job(
    request: Request, job_id: str, services: ServicesDep, show: Annotated[Literal["", "request", "output"], Query()] = ""
) -> Response:
    """Show one job; what was asked and what came of it only to who wants to see that."""
    await _check_there(services, job_id)
    content = await {"request": request_of, "output": answer_of}[show](services.gateway, job_id) if show else None
    return await page(
        request, "job.html", JobView(job_id), events=f"{ROOT}/jobs/{job_id}/events", job_id=job_id, content=content, show=show
    )


@router.get("/jobs/{job_id}/events")
async def follow_job(job_id: str, services: ServicesDep, board: BoardDep) -> Response:
    """Send what changes there."""
    return _news(services, board, JobView(job_id))


@router.get("/jobs/{job_id}/output")
async def download_output(job_id: str, services: ServicesDep) -> Response:
    """Return a job's output as a file."""
    output = await services.gateway.output(job_id)
    suffix = output.media_type.partition(";")[0].partition("/")[2].rpartition("-")[2].rpartition(".")[2]
    name = f"{job_id}.{suffix}" if f"{job_id}{suffix}".replace("_", "").replace(".", "").isalnum() else "output"
    return Response(output.content, media_type=output.media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})


@router.get("/static/{name}")
async def send_asset(name: str) -> Response:
    """Return a file that pages load. Its address changes with its content, so a browser may keep it."""
    if name not in ASSETS:
        message = f"There is no file {name[:_TEXT_CHARACTERS]!r}."
        raise RouteNotFound(message)
    return Response(asset(name)[0], media_type=ASSETS[name], headers={"Cache-Control": f"max-age={_YEAR_S}, immutable"})


async def _check_there(services: Services, job_id: str) -> None:
    """Raise :class:`JobNotFound` where there is no such job; a store that does not answer is told by the page itself."""
    with suppress(StoreUnavailable, TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            if not await services.gateway.read(lambda reader: reader.find_many([job_id])):
                raise JobNotFound(job_id)


def _asked(request: Request) -> dict[str, str]:
    names = ("state", "kind", "model", "lane", "text", "after")
    return {name: request.query_params.get(name, "") for name in names}


def _models(catalog: Catalog, asked: str | None) -> list[str]:
    """Return the models to choose from; one that has left the catalog may still have jobs."""
    known = sorted(spec.id for spec in catalog)
    return known if asked is None or asked in known else [asked, *known]


def _news(services: Services, board: Board, view: View) -> Response:
    return EventStream(_frames(services, board, view), services.stopping, _error_frame)


@asynccontextmanager
async def _frames(services: Services, board: Board, view: View) -> AsyncIterator[AsyncIterator[bytes]]:
    async with aclosing(_paced(services, board, view)) as frames:
        yield frames


async def _paced(services: Services, board: Board, view: View) -> AsyncGenerator[bytes]:
    yield format_sse_event(retry=1000, comment="news of the dashboard")
    keep_alive_s = services.pace.keep_alive_s
    async with aclosing(board.watch(view)) as changes, aclosing(with_pauses(changes, first_s=keep_alive_s, then_s=keep_alive_s)) as paced:
        async for parts in paced:
            yield KEEP_ALIVE if parts is None else format_sse_event(data_str=to_json(parts).decode())


def _error_frame(error: InferenceError) -> bytes:
    return format_sse_event(comment=error.as_fact().code)  # the browser asks again by itself
