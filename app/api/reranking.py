"""``POST /v1/rerank``: documents in the order in which they answer a query.

``/rerank`` and ``/v2/rerank`` are the same, for clients that were made for vLLM or Cohere.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.body import JsonBody
from app.api.calls import answer, read_call
from app.api.describe import CALL_HEADERS, called, takes
from app.api.rerank_answers import RerankAnswer
from app.api.services import ServicesDep
from app.jobs.record import JobKind

__all__ = ["router"]

router = APIRouter()

_RESPONSES = called(RerankAnswer)
_TAKES = takes("RerankRequest", headers=CALL_HEADERS)


@router.post("/v1/rerank", responses=_RESPONSES, openapi_extra=_TAKES)
@router.post("/rerank", responses=_RESPONSES, openapi_extra=_TAKES)
@router.post("/v2/rerank", responses=_RESPONSES, openapi_extra=_TAKES)
async def create_ranking(request: Request, body: JsonBody, services: ServicesDep) -> Response:
    """Rank documents by how well they answer a query."""
    return await answer(request, await read_call(request, body, JobKind.RERANK, services), services)
