"""``/v1/files``: uploads that go to disk as they arrive, and what became of them."""

from __future__ import annotations

from typing import Annotated, Literal, cast, get_args

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile

from app.api.content import CONTENT, Content
from app.api.describe import STORE_ERRORS, errors, ref, takes
from app.api.forms import file_of, name_of, pieces_of, read_form
from app.api.services import ServicesDep
from app.errors import InvalidRequest
from app.jobs.files import Purpose, UploadedFile

__all__ = ["FileDeleted", "FilePage", "router"]

router = APIRouter(prefix="/v1/files", responses=errors(*STORE_ERRORS))


class FilePage(BaseModel):
    """Files in the order that was asked for. The next page is ``after=last_id``."""

    object: Literal["list"] = "list"
    data: list[UploadedFile]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    """A file that is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


@router.post(
    "",
    responses=errors("invalid_request", "body_too_large", "unsupported_media_type", "queue_full", *STORE_ERRORS),
    openapi_extra=takes("UploadForm", media_type="multipart/form-data"),
)
async def create_file(request: Request, services: ServicesDep) -> UploadedFile:
    """Keep an upload: a form with ``file`` and ``purpose``."""
    await services.gateway.check_room()
    form = await read_form(request, services.settings)
    try:
        upload, purpose = _checked(form)
        return await services.gateway.files(lambda files: files.create(name_of(upload), purpose, pieces_of(upload)))
    finally:
        await form.close()


def _checked(form: FormData) -> tuple[UploadFile, Purpose]:
    upload, purpose = file_of(form), form.get("purpose")
    if purpose not in get_args(Purpose):
        message = f"`purpose` must be one of {', '.join(get_args(Purpose))}."
        raise InvalidRequest(message, param="purpose")
    extra = next((name for name in form if name.startswith("expires_after")), None)
    if extra is not None:
        message = "expires_after is not supported by this version; files stay until they are deleted."
        raise InvalidRequest(message, param="expires_after")
    return upload, cast("Purpose", purpose)


@router.get("", responses=errors("invalid_request", "file_not_found"))
async def list_files(
    services: ServicesDep,
    *,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    after: Annotated[str | None, Query(max_length=64)] = None,
    order: Literal["asc", "desc"] = "desc",
    purpose: Purpose | None = None,
) -> FilePage:
    """Return a page of files."""
    files, more = await services.gateway.files(
        lambda store: store.page(limit=limit, after=after, newest_first=order == "desc", purpose=purpose)
    )
    return FilePage(data=files, first_id=files[0].id if files else None, last_id=files[-1].id if files else None, has_more=more)


@router.get("/{file_id}", responses=errors("file_not_found"))
async def show_file(file_id: str, services: ServicesDep) -> UploadedFile:
    """Return a file's record."""
    return await services.gateway.files(lambda files: files.get(file_id))


@router.get(
    "/{file_id}/content",
    response_class=Content,
    responses=errors("file_not_found", "range_not_satisfiable", *STORE_ERRORS) | CONTENT,
    openapi_extra={"parameters": [ref("Range", "parameters")]},
)
async def read_file(file_id: str, services: ServicesDep) -> Content:
    """Return a file's content, byte ranges too."""
    file, path = await services.gateway.files(lambda files: files.content(file_id))
    return Content(path, media_type="application/octet-stream", filename=file.filename)


@router.delete("/{file_id}", responses=errors("file_not_found"))
async def delete_file(file_id: str, services: ServicesDep) -> FileDeleted:
    """Delete a file and its content."""
    await services.gateway.files(lambda files: files.delete(file_id))
    return FileDeleted(id=file_id)
