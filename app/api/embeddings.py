"""``POST /v1/embeddings``. The worker writes the vectors in the encoding that was asked for."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.answers import EmbeddingList
from app.api.body import JsonBody
from app.api.calls import answer, read_call
from app.api.describe import CALL_HEADERS, called, takes
from app.api.services import ServicesDep
from app.jobs.record import JobKind

__all__ = ["router"]

router = APIRouter()


@router.post(
    "/v1/embeddings",
    responses=called(EmbeddingList),
    openapi_extra=takes("EmbeddingRequest", headers=CALL_HEADERS),
)
async def create_embeddings(request: Request, body: JsonBody, services: ServicesDep) -> Response:
    """Embed one text or many."""
    return await answer(request, await read_call(request, body, JobKind.EMBEDDING, services), services)
