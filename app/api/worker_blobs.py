"""``/v1/worker``: what workers of other machines read and make, for keys of the scope ``worker``.

Content goes to and from the disk as it comes, however large it is, under the
name of its hash: a second upload of the same changes nothing, and what was
damaged on its way is refused.
"""

from __future__ import annotations

import asyncio
import errno
import re
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as InPath
from starlette.requests import ClientDisconnect

from app import __version__
from app.api.content import BYTES, CONTENT, Content
from app.api.describe import STORE_ERRORS, errors, ref
from app.api.errors import ClientHungUp
from app.api.services import Services, ServicesDep
from app.errors import BlobNotHere, QueueFull
from app.jobs.blobs import ApiFacts
from app.jobs.connection import server_id
from app.jobs.room import check_disk
from app.jobs.spool import Spool

__all__ = ["router"]

router = APIRouter(prefix="/v1/worker", responses=errors("invalid_request", *STORE_ERRORS))

_PIECE_BYTES = 1024**2

_NAME = re.compile(r"[0-9a-f]{64}")
_HOLDER = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}$"


async def named(blob: Annotated[str, InPath(description="SHA-256 of the content, in hexadecimal digits.")]) -> str:
    """Return the name of a blob in a path; what is no name of any is not here."""
    if not _NAME.fullmatch(blob):
        raise BlobNotHere(blob)
    return blob


BlobName = Annotated[str, Depends(named)]


@router.get("")
async def show_api(services: ServicesDep) -> ApiFacts:
    """Say which API this is, and which Redis has its jobs."""
    return ApiFacts(version=__version__, redis_id=await services.gateway.read(lambda store: server_id(store.client)))


@router.get(
    "/blobs/{blob}",
    response_class=Content,
    responses=errors("blob_not_found", "range_not_satisfiable") | CONTENT,
    openapi_extra={"parameters": [ref("Range", "parameters")]},
)
async def read_blob(blob: BlobName, services: ServicesDep) -> Content:
    """Return content of the spool, byte ranges too."""
    path = services.gateway.path_of(blob)
    if not await asyncio.to_thread(path.exists):
        raise BlobNotHere(blob)
    return Content(path, media_type="application/octet-stream")


@router.put(
    "/blobs/{blob}",
    status_code=204,
    responses=errors("wrong_content", "blob_not_found", "queue_full"),
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": BYTES}}},
)
async def receive_blob(
    blob: BlobName,
    holder: Annotated[str, Query(pattern=_HOLDER, description="The job that needs it.")],
    request: Request,
    services: ServicesDep,
) -> Response:
    """Keep content for a job. It is on the disk, whole, when this answers."""
    announced = request.headers.get("content-length", "")
    await asyncio.to_thread(check_disk, services.settings, int(announced) if announced.isdecimal() else 0)
    written = await services.gateway.spool(Spool.begin)
    try:
        await _receive(request, written, services)
        await services.gateway.spool(lambda spool: spool.keep(written, holder=holder, name=blob))
    finally:
        await asyncio.to_thread(written.unlink, missing_ok=True)
    return Response(status_code=204)


async def _receive(request: Request, written: Path, services: Services) -> None:
    """Write the body of *request* as it arrives.

    Raises:
        QueueFull: The disk is full before its end.
        ClientHungUp: The connection broke before its end.
    """
    file = await asyncio.to_thread(written.open, "wb")
    waiting = bytearray()
    try:
        async for chunk in request.stream():
            waiting += chunk
            if len(waiting) >= _PIECE_BYTES:
                await asyncio.to_thread(file.write, bytes(waiting))
                waiting.clear()
        await asyncio.to_thread(file.write, bytes(waiting))
    except ClientDisconnect:
        raise ClientHungUp from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        msg = f"The disk of {services.settings.home} is full; free some space."
        raise QueueFull(msg, retry_after_s=30) from None
    finally:
        await asyncio.to_thread(file.close)


@router.put("/blobs/{blob}/holders/{holder}", status_code=204, responses=errors("blob_not_found"))
async def hold_blob(
    blob: BlobName, holder: Annotated[str, InPath(pattern=_HOLDER, description="The job that needs it.")], services: ServicesDep
) -> Response:
    """Keep content that is in the spool for one more job."""
    try:
        await services.gateway.spool(lambda spool: spool.hold(blob, holder=holder))
    except FileNotFoundError:
        raise BlobNotHere(blob) from None
    return Response(status_code=204)
