"""``/v1/jobs``: submit work for later, look at it, follow it, cancel it, fetch what came of it."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.sse import format_sse_event
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from app.api.answers import DownloadReport, EmbeddingList, TokenCount, Transcription
from app.api.body import json_body, parse_json
from app.api.calls import KINDS, accepted, idempotency, new_job, output_of, submit
from app.api.deadline import deadline_of
from app.api.describe import DELIVERY_ERRORS, JOB_ERRORS, RECEIPT, STORE_ERRORS, SUBMISSION_ERRORS, as_json, errors, event_stream, takes
from app.api.dialects import PROBLEM
from app.api.documents import check_document, with_document
from app.api.downloads import new_download
from app.api.errors import failure_body
from app.api.ocr_answers import OcrAnswer
from app.api.permits import check_admin
from app.api.recordings import HEARD, check_recording, kept_recording
from app.api.rerank_answers import RerankAnswer
from app.api.services import Services, ServicesDep
from app.api.sse import EventStream
from app.api.standing import with_comments
from app.api.text_answers import ChatCompletion, TextCompletion
from app.api.transcripts import TranscriptAnswer, for_recording, with_recording
from app.api.validation import validated
from app.api.webhooks.asking import AskedWebhook, webhook_of
from app.errors import InferenceError, InvalidRequest, NoModelForRole, UnknownModel
from app.jobs.batch_record import Outcome
from app.jobs.hooks import DeliveryReport
from app.jobs.record import TERMINAL, Job, JobKind, JobState, Lane
from app.jobs.streams import StreamEntry
from app.models.catalog import Catalog

__all__ = ["JobPage", "JobSubmission", "router"]

router = APIRouter(prefix="/v1/jobs", responses=errors(*STORE_ERRORS))

_SUBMITTED = frozenset({*KINDS, JobKind.DOWNLOAD})
_Output = (
    ChatCompletion
    | TextCompletion
    | EmbeddingList
    | OcrAnswer
    | RerankAnswer
    | Transcription
    | TranscriptAnswer
    | DownloadReport
    | TokenCount
    | Outcome
    | DeliveryReport
)
_STREAM_ID = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?")

LastEventId = Annotated[
    str, Header(description="The `id` of the last event seen.", json_schema_extra={"pattern": f"^({_STREAM_ID.pattern})?$"})
]


class JobSubmission(BaseModel):
    """Body of ``POST /v1/jobs``. ``request`` is checked by kind afterwards."""

    model_config = ConfigDict(extra="forbid")

    kind: Annotated[str, Field(strict=True)]
    lane: Lane = Lane.BATCH
    deadline: datetime | None = None
    webhook: AskedWebhook | None = None
    request: dict[str, object]


class JobPage(BaseModel):
    """Jobs, newest first, or a parent's children in their order; without their outputs. The next page is ``after=last_id``."""

    object: Literal["list"] = "list"
    data: list[Job]
    first_id: str | None
    last_id: str | None
    has_more: bool


@router.post(
    "",
    status_code=202,
    responses=RECEIPT | errors(*SUBMISSION_ERRORS, "unreadable_audio", "insufficient_scope"),
    openapi_extra=takes(
        "ChatSubmission",
        "CompletionSubmission",
        "EmbeddingSubmission",
        "SpeechSubmission",
        "OcrSubmission",
        "RerankSubmission",
        "TranscriptSubmission",
        headers=("Idempotency-Key", "Cancel-After"),
        form="FileSubmission",
    ),
)
async def create_job(request: Request, services: ServicesDep) -> Response:
    """Accept work that nobody waits on. What is to be heard comes in a form with its file; what is to be read may do so.

    A transcript is written down by one model and corrected by another, as one job.
    """
    if request.headers.get("content-type", "").startswith("multipart/"):
        return await _create_of_file(request, services)
    body = await json_body(request, services)
    asked = validated(JobSubmission, body)
    kind = _kind(asked.kind)
    if kind in HEARD:
        message = f"A {kind} needs its recording: send a form with `file`, `kind` and `request` (JSON), or use POST /v1/audio/{kind}s."
        raise InvalidRequest(message, param="file")
    key = idempotency(request, body)
    late, webhook = deadline_of(request, asked.deadline), webhook_of(asked.webhook, services.settings)
    wanted, where = body["request"], ("request",)
    if kind is JobKind.DOWNLOAD:
        check_admin(request, "downloads")
        job = new_download(services, wanted, lane=asked.lane, deadline=late, prefix=where)
    else:
        job = await new_job(services, kind, wanted, lane=asked.lane, waited=False, key=key, deadline=late, prefix=where)
    if kind is JobKind.OCR:
        job = await with_document(services, job, where)
    if kind is JobKind.TRANSCRIPT:
        job = await with_recording(services, job, where)
    job = job.model_copy(update={"webhook": webhook})
    return await accepted(services.gateway, await submit(request, job, services.gateway))


async def _create_of_file(request: Request, services: Services) -> Response:
    async with kept_recording(request, services) as kept:
        fields: dict[str, Any] = dict(kept.fields)
        fields["request"] = parse_json(str(fields.get("request") or "{}").encode(), field="request")
        asked = validated(JobSubmission, fields)
        kind = _kind(asked.kind)
        if kind not in {*HEARD, JobKind.OCR, JobKind.TRANSCRIPT}:
            message = f"Jobs of kind {kind!r} take no file; send them as JSON."
            raise InvalidRequest(message, param="file")
        key = idempotency(request, fields | {"file": kept.facts})
        late, webhook = deadline_of(request, asked.deadline), webhook_of(asked.webhook, services.settings)
        wanted, where = {**asked.request, "file": kept.facts}, ("request",)
        job = await new_job(services, kind, wanted, lane=asked.lane, waited=False, key=key, deadline=late, prefix=where)
        if kind is JobKind.OCR:
            await check_document(services, kept.blob, job, where)
        elif kind is JobKind.TRANSCRIPT:
            job = await for_recording(services, kept.blob, job, where)
        else:
            await check_recording(services, kept.blob)
        job = kept.of(job).model_copy(update={"webhook": webhook})
        return await accepted(services.gateway, await submit(request, job, services.gateway))


def _kind(name: str) -> JobKind:
    *others, last = [repr(kind.value) for kind in JobKind if kind in _SUBMITTED]
    known = f"{', '.join(others)} or {last}"
    if name not in _SUBMITTED:
        message = f"`kind` must be {known} (got {name[:40]!r})."
        raise InvalidRequest(message, param="kind")
    return JobKind(name)


@router.get("", responses=errors("invalid_request", "job_not_found"))
async def list_jobs(
    services: ServicesDep,
    *,
    state: JobState | None = None,
    kind: JobKind | None = None,
    model: Annotated[str | None, Query(max_length=256)] = None,
    lane: Lane | None = None,
    parent: Annotated[str | None, Query(max_length=64, description="List the children of this job instead, in their order.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(max_length=64)] = None,
) -> JobPage:
    """Return a page of jobs, newest first. Parts of a job are listed by `parent` alone, deliveries of webhooks by their kind."""
    model_id = _model_id(model, services.catalog) if model else None
    jobs = await services.gateway.list_jobs(state=state, kind=kind, model=model_id, lane=lane, parent=parent, limit=limit + 1, after=after)
    page = jobs[:limit]
    return JobPage(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(jobs) > limit,
    )


def _model_id(name: str, catalog: Catalog) -> str:
    """Return the id that *name* means; a model that left the catalog may still have jobs."""
    try:
        return catalog.find(name).id
    except (UnknownModel, NoModelForRole):
        return name


@router.get("/{job_id}", responses=errors("job_not_found"))
async def show_job(job_id: str, services: ServicesDep) -> Job:
    """Return a job, with its output where that is at most 64 KiB."""
    return await services.gateway.get(job_id)


@router.get(
    "/{job_id}/output",
    responses=errors("job_not_found", "job_not_finished", *JOB_ERRORS, *DELIVERY_ERRORS, *STORE_ERRORS) | {200: {"model": _Output}},
)
async def show_output(job_id: str, services: ServicesDep) -> Response:
    """Return a job's output: the body that the OpenAI route would have answered with, or what was downloaded."""
    output = await output_of(services.gateway, job_id)
    return Response(output.content, media_type=output.media_type)


@router.post("/{job_id}/cancel", responses=errors("job_not_found"))
async def cancel_job(job_id: str, services: ServicesDep) -> Job:
    """Cancel a job, and its children with it. One that has ended stays as it is, so this may be repeated."""
    return await services.gateway.cancel(job_id)


@router.post(
    "/{job_id}/retry",
    status_code=202,
    responses=RECEIPT | errors("job_not_found", "illegal_transition", "queue_full", *STORE_ERRORS),
)
async def retry_job(request: Request, job_id: str, services: ServicesDep) -> Response:
    """Submit the request of a job that has ended once more, as a new job whose ``retry_of`` is this one."""
    job = await services.gateway.retry(job_id)
    request.state.job_id = job.id  # the access log's, and the X-Job-Id header's
    if job.kind is JobKind.BATCH:
        services.batches_changed.set()
    return await accepted(services.gateway, job.id)


@router.get(
    "/{job_id}/events",
    response_class=Response,
    responses=errors("invalid_request", "job_not_found", *STORE_ERRORS)
    | {
        200: event_stream(
            as_json("StreamEntry", "Problem"), event={"enum": ["state", "tokens", "progress", "child", "error"]}, id={"type": "string"}
        ),
        204: {"description": "Last-Event-ID is the end of a job that has ended: nothing more will come."},
    },
)
async def follow_job(job_id: str, services: ServicesDep, last_event_id: LastEventId = "") -> Response:
    """Follow a job to its end. A reader that reconnects with ``Last-Event-ID`` misses nothing and sees nothing twice."""
    after = last_event_id or "0-0"
    if not _STREAM_ID.fullmatch(after):
        message = "Last-Event-ID must be the id of an event of this stream, such as 1700000000000-0."
        raise InvalidRequest(message, param="Last-Event-ID")
    job = await services.gateway.get(job_id)
    if job.state in TERMINAL and await _saw_the_end(services, job_id, after):
        return Response(status_code=204)  # tells an EventSource to stop reconnecting
    return EventStream(_events(services, job_id, after), services.stopping, _error_frame)


async def _saw_the_end(services: Services, job_id: str, after: str) -> bool:
    """Return whether *after* is the last entry of a job that has ended. A stream that is gone is told again, not refused."""
    async with aclosing(services.gateway.follow(job_id, after)) as entries:
        return (await anext(entries)).id == after != "0-0"


@asynccontextmanager
async def _events(services: Services, job_id: str, after: str) -> AsyncIterator[AsyncIterator[bytes]]:
    async with aclosing(_frames(services, job_id, after)) as frames:
        yield frames


async def _frames(services: Services, job_id: str, after: str) -> AsyncGenerator[bytes]:
    async with (
        aclosing(services.gateway.follow(job_id, after)) as entries,
        # The job is there, so the headers need not wait for its first event.
        aclosing(with_comments(entries, services.gateway.glances, job_id, services.pace, first_s=0)) as paced,
    ):
        async for entry in paced:
            yield entry if isinstance(entry, bytes) else _frame(entry)


def _frame(entry: StreamEntry) -> bytes:
    facts = entry.model_dump(mode="json", exclude={"id"}, exclude_none=True, exclude_defaults=True)
    return format_sse_event(data_str=to_json(facts).decode(), event=entry.type, id=entry.id)


def _error_frame(error: InferenceError) -> bytes:
    return format_sse_event(data_str=to_json(failure_body(PROBLEM, error)).decode(), event="error")
