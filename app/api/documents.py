"""Pictures and documents that are to be read: checked, and kept in the spool, before their job is submitted."""

from __future__ import annotations

import asyncio
from pathlib import Path

from app.api.pictures import held_content, limits_of
from app.api.services import Services
from app.documents.kinds import kind_of
from app.documents.ranges import page_numbers
from app.documents.rendering import probe
from app.errors import InferenceError, InvalidRequest, StoreUnavailable, UnreadablePicture
from app.jobs.ocr_requests import SOURCES
from app.jobs.submission import NewJob
from app.pictures.data_uri import is_data_uri
from app.pictures.reading import Limits, check_picture

__all__ = ["check_document", "with_document"]

_PATIENCE_S = 20.0
_OTHERS = "`document`, `file_id`, or a form with a `file`"


async def with_document(services: Services, job: NewJob, prefix: tuple[str, ...] = ()) -> NewJob:
    """Return *job* with what its request names held for it in the spool.

    Raises:
        UnreadableDocument: Likewise UnreadablePicture, PictureTooLarge, PictureNotFetched, FileNotHere.
        InvalidRequest: Pages are chosen that are not there, or a source is no address.
        QueueFull: Nothing more can be kept.
    """
    source = _source(job, prefix)
    await services.gateway.check_room()
    try:
        blob = await _held(services, source, job.request[source], holder=job.id)
        await _check(services, blob, job)
    except InferenceError as error:
        if not isinstance(error, StoreUnavailable):
            error.param = ".".join((*prefix, "pages" if error.param == "pages" else source))
        await services.gateway.drop(holder=job.id)
        raise
    request = {name: value for name, value in job.request.items() if name not in SOURCES}
    return job.model_copy(update={"request": request, "blobs": (blob,)})


async def check_document(services: Services, blob: str, job: NewJob, prefix: tuple[str, ...] = ()) -> None:
    """See that the file which came with a form, and is held, can be read by *job*.

    Raises:
        UnreadableDocument: Likewise UnreadablePicture, PictureTooLarge.
        InvalidRequest: Something else is to be read as well, or pages that are not there.
    """
    for name in SOURCES:
        if job.request.get(name) is not None:
            where = ".".join((*prefix, name))
            message = f"`{where}` and the form's `file` were both given; send one of them."
            raise InvalidRequest(message, param=where)
    try:
        await _check(services, blob, job)
    except InferenceError as error:
        error.param = ".".join((*prefix, "pages")) if error.param == "pages" else "file"
        raise


def _source(job: NewJob, prefix: tuple[str, ...]) -> str:
    given = [name for name in SOURCES if job.request.get(name) is not None]
    if len(given) == 1:
        return given[0]
    where = ".".join((*prefix, given[1] if given else SOURCES[0]))
    message = f"`{where}` and `{given[0]}` were both given; send one of them." if given else f"`{where}` is required, or {_OTHERS}."
    raise InvalidRequest(message, param=where)


async def _check(services: Services, blob: str, job: NewJob) -> None:
    settings = services.settings
    async with services.decoding:
        count = await asyncio.to_thread(_pages_of, services.gateway.path_of(blob), limits_of(settings))
    page_numbers(job.request.get("pages"), count, settings.max_pages)


def _pages_of(path: Path, limits: Limits) -> int:
    if kind_of(path) is not None:
        return probe(path, patience_s=_PATIENCE_S).pages
    try:
        check_picture(path, limits)
    except UnreadablePicture as error:
        error.message = error.message.replace("Known are ", "Known are PDF, ")
        raise
    return 1


async def _held(services: Services, source: str, value: str, *, holder: str) -> str:
    """Return the name of the blob that a source has become."""
    if source == "file_id":
        return await services.gateway.files(lambda files: files.hold(value, holder=holder))
    if is_data_uri(value):
        return await held_content(services, value, int(services.settings.max_upload), holder=holder)
    if source == "image" and value[:7].lower() in {"http://", "https:/"}:
        return await held_content(services, value, int(services.settings.max_picture), holder=holder)
    kinds = "a `data:` URI, or an address that begins with http:// or https://" if source == "image" else "a `data:` URI"
    message = f"It must be {kinds}; to send a file use a form, or its id after POST /v1/files."
    raise InvalidRequest(message)
