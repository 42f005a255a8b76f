"""``POST /v1/ocr``: a picture or a document becomes text."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.body import json_body
from app.api.calls import Call, answer, read_call
from app.api.describe import CALL_HEADERS, called, takes
from app.api.documents import check_document, with_document
from app.api.ocr_answers import OcrAnswer
from app.api.recordings import kept_recording
from app.api.services import Services, ServicesDep
from app.jobs.audio_requests import form_fields
from app.jobs.record import JobKind

__all__ = ["router"]

router = APIRouter(prefix="/v1")


@router.post(
    "/ocr",
    responses=called(OcrAnswer, "text/plain", "text/markdown"),
    openapi_extra=takes("OcrRequest", headers=CALL_HEADERS, form="OcrForm"),
)
async def create_ocr(request: Request, services: ServicesDep) -> Response:
    """Read a picture, or every page of a document."""
    return await answer(request, await _read(request, services), services)


async def _read(request: Request, services: Services) -> Call:
    """Keep in the spool what is to be read, and turn the request into a call."""
    if not request.headers.get("content-type", "").startswith("multipart/"):
        call = await read_call(request, await json_body(request, services), JobKind.OCR, services)
        return Call(job=await with_document(services, call.job), preference=call.preference)
    async with kept_recording(request, services) as kept:
        fields = form_fields(kept.fields) | {"file": kept.facts}
        call = await read_call(request, fields, JobKind.OCR, services)
        await check_document(services, kept.blob, call.job)
    return Call(job=kept.of(call.job), preference=call.preference)
