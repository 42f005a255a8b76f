"""``/metrics``: what Prometheus and its like collect. The same on both ports, but for what each process says of itself."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from app.api.describe import Responses
from app.api.exposition import Queue, registry_of
from app.api.services import Services, ServicesDep
from app.errors import StoreUnavailable
from app.jobs import keys
from app.jobs.figures import Figures, read_figures
from app.jobs.record import Lane
from app.own_process import own_process

__all__ = ["router"]

router = APIRouter()

_PATIENCE_S = 3.0  # collectors give up after ten; without the store there is still this process to tell of
_MODELLESS: tuple[Queue, ...] = tuple((name, "", "") for name in (keys.CHAINS, keys.COUNTS, keys.DOWNLOADS, keys.QUARANTINE))
_TEXT = {"schema": {"type": "string"}}
_SAYS: Responses = {200: {"description": "Every series.", "content": {"text/plain": _TEXT, "application/openmetrics-text": _TEXT}}}


@router.get("/metrics", response_class=Response, responses=_SAYS)
async def metrics(request: Request, services: ServicesDep) -> Response:
    """Return every series, in Prometheus's format or, to who accepts it, OpenMetrics. `docs/metrics.md` lists them."""
    figures = await _figures(services)
    write, media_type = choose_encoder(request.headers.get("accept", ""))
    registry = registry_of(figures, _queues(services), services.tally.numbers(), own_process())
    return Response(write(registry), media_type=media_type)


async def _figures(services: Services) -> Figures | None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await services.gateway.read(read_figures)
    except (StoreUnavailable, TimeoutError):
        return None


def _queues(services: Services) -> list[Queue]:
    models = [(keys.queue_name(spec.id, lane), spec.id, lane.value) for spec in services.catalog for lane in Lane]
    return [*_MODELLESS, *models]
