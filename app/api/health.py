"""``/health``: this process is alive. ``/ready``: a chat asked for now would be answered."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app import __version__
from app.api.describe import errors
from app.api.errors import problem_response
from app.api.services import Services, ServicesDep
from app.errors import Failure, InferenceError, ModelNotDownloaded, StoreUnavailable
from app.jobs.reading import JobReader
from app.models.hub import locate
from app.models.spec import Task

__all__ = ["router"]

router = APIRouter()

_PATIENCE_S = 2.0  # a probe wants its answer now, not after the store's retries


class Health(BaseModel):
    """This process is alive."""

    status: Literal["ok"] = "ok"
    version: str


class Ready(BaseModel):
    """A chat would be answered."""

    status: Literal["ready"] = "ready"


# Probes like HEAD; what it does follows from GET, so the document leaves it out.
@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health() -> Health:
    """Say that this process answers. Needs no key and asks nobody."""
    return Health(version=__version__)


@router.head("/ready", include_in_schema=False)
@router.get("/ready", responses=errors("not_ready") | {200: {"model": Ready}})
async def ready(services: ServicesDep) -> Response:
    """Say whether a chat can be answered, or else everything that is missing."""
    missing = [fact for fact in (await _no_worker(services), await asyncio.to_thread(_no_model, services)) if fact]
    if not missing:
        return JSONResponse(Ready().model_dump())
    message = " ".join(fact.message for fact in missing)
    return problem_response(Failure(code="not_ready", message=message), missing=[fact.code for fact in missing])


async def _no_worker(services: Services) -> Failure | None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            if await services.gateway.read(JobReader.workers):
                return None
    except (StoreUnavailable, TimeoutError):
        return Failure(code="store_unavailable", message="The job store (Redis) does not answer.")
    return Failure(code="no_worker", message="No worker is running.")


def _no_model(services: Services) -> Failure | None:
    try:
        spec = services.catalog.resolve(None, Task.CHAT)
    except InferenceError as error:
        return error.as_fact()
    return None if locate(spec, services.settings) else ModelNotDownloaded(spec.id).as_fact()
