"""``/v1/batches``: a file of requests is made a batch, looked at, listed, cancelled."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.api.batches.answers import Batch, BatchPage, job_of, shown
from app.api.batches.requests import BatchRequest
from app.api.body import JsonBody
from app.api.calls import idempotency, submit
from app.api.describe import STORE_ERRORS, errors, takes
from app.api.services import Services, ServicesDep
from app.api.validation import validated
from app.api.webhooks.asking import webhook_of
from app.errors import BatchNotFound, FileNotHere, InvalidRequest
from app.jobs.batch_record import ALL_MODELS
from app.jobs.record import JobKind, Lane
from app.jobs.submission import NewJob

__all__ = ["router"]

router = APIRouter(prefix="/v1/batches", responses=errors(*STORE_ERRORS))

_REFUSALS = ("invalid_request", "body_too_large", "unsupported_media_type", "file_not_found", "idempotency_conflict", "queue_full")


@router.post("", responses=errors(*_REFUSALS, *STORE_ERRORS), openapi_extra=takes("BatchRequest", headers=("Idempotency-Key",)))
async def create_batch(request: Request, body: JsonBody, services: ServicesDep) -> Batch:
    """Make a batch of an uploaded file. Its lines are checked next: what is wrong with them is told by the batch."""
    asked = validated(BatchRequest, body)
    job = NewJob(
        kind=JobKind.BATCH,
        model=ALL_MODELS,
        lane=Lane.BATCH,
        request=asked.model_dump(mode="json", exclude_unset=True, exclude={"webhook"}),
        waited=False,
        idempotency=idempotency(request, body),
        lasts_s=asked.lasts_s,
        webhook=webhook_of(asked.webhook, services.settings),
    )
    job_id = await submit(request, await _holding_its_file(services, job), services.gateway)
    services.batches_changed.set()
    return await _shown(services, job_id)


async def _holding_its_file(services: Services, job: NewJob) -> NewJob:
    """Return *job* with its file held for it, which may be deleted from now on."""
    file_id = job.request["input_file_id"]
    try:
        file = await services.gateway.files(lambda files: files.get(file_id))
        if file.purpose != "batch":
            message = f"`input_file_id` names a file of the purpose {file.purpose!r}; upload it with the purpose 'batch'."
            raise InvalidRequest(message, param="input_file_id")
        blob = await services.gateway.files(lambda files: files.hold(file_id, holder=job.id))
    except FileNotHere as error:
        error.param = "input_file_id"
        raise
    return job.model_copy(update={"blobs": (blob,)})


async def _shown(services: Services, job_id: str) -> Batch:
    return shown(await services.gateway.batches(lambda batches: batches.get(job_id)))


@router.get("", responses=errors("invalid_request", "batch_not_found"))
async def list_batches(
    services: ServicesDep,
    *,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(max_length=64)] = None,
) -> BatchPage:
    """Return a page of batches, newest first."""
    before = job_of((await _found(services, after)).id) if after else None
    found = await services.gateway.batches(lambda batches: batches.page(limit=limit + 1, after=before))
    page = [shown(record) for record in found[:limit]]
    return BatchPage(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(found) > limit,
    )


@router.get("/{batch_id}", responses=errors("batch_not_found"))
async def show_batch(batch_id: str, services: ServicesDep) -> Batch:
    """Return a batch as it stands."""
    return await _found(services, batch_id)


@router.post("/{batch_id}/cancel", responses=errors("batch_not_found"))
async def cancel_batch(batch_id: str, services: ServicesDep) -> Batch:
    """Cancel a batch: what was answered is still written. One that has ended stays as it is, so this may be repeated."""
    job_id = job_of((await _found(services, batch_id)).id)
    await services.gateway.cancel(job_id)
    services.batches_changed.set()
    return await _shown(services, job_id)


async def _found(services: Services, batch_id: str) -> Batch:
    """Return a batch.

    Raises:
        BatchNotFound: There is none, by the id that was asked for.
    """
    try:
        return await _shown(services, job_of(batch_id))
    except BatchNotFound:
        raise BatchNotFound(batch_id) from None
