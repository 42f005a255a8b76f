"""Reading a form with a file: bounded while it arrives, never in memory as a whole, and never a 500."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path, PurePath

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from app.api.errors import BodyTooLarge, ClientHungUp, UnsupportedMediaType
from app.errors import InvalidRequest
from app.settings import Settings

__all__ = ["file_of", "file_pieces", "name_of", "pieces_of", "read_form"]

_PIECE_BYTES = 1024**2
_FORM_BYTES = 256 * 1024  # of the form around the file
_MOST_FIELDS = 1100  # hot words may be a field each
_MAX_NAME = 255


async def read_form(request: Request, settings: Settings) -> FormData:
    """Read the form; its file is on disk once it is larger than a megabyte. The caller closes it.

    Raises:
        UnsupportedMediaType: The body is no form.
        BodyTooLarge: The file is larger than the settings allow.
        InvalidRequest: The form is malformed, or has more than one file.
        ClientHungUp: The connection broke before the body's end.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        message = f"This route takes a form (Content-Type: multipart/form-data), not {media_type[:80] or 'a body without a type'}."
        raise UnsupportedMediaType(message)
    arriving = _bounded(request, settings.max_upload + _FORM_BYTES)
    try:
        return await MultiPartParser(request.headers, arriving, max_files=1, max_fields=_MOST_FIELDS).parse()
    except ClientDisconnect:
        raise ClientHungUp from None
    except (MultiPartException, KeyError) as error:  # KeyError: a form without a boundary
        message = f"The form cannot be read: {str(error).rstrip('.')}."
        raise InvalidRequest(message) from None


async def _bounded(request: Request, limit_bytes: int) -> AsyncGenerator[bytes]:
    arrived = 0
    async for chunk in request.stream():
        arrived += len(chunk)
        if arrived > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        yield chunk


def file_of(form: FormData) -> UploadFile:
    """Return the form's `file`.

    Raises:
        InvalidRequest: There is none, or it is empty.
    """
    upload = form.get("file")
    if not isinstance(upload, UploadFile):
        message = "The form has no `file`; send one, with its content."
        raise InvalidRequest(message, param="file")
    if not upload.size:
        message = "The file is empty."
        raise InvalidRequest(message, param="file")
    return upload


def name_of(upload: UploadFile) -> str:
    """Return what its owner calls the file, without folders."""
    name = PurePath((upload.filename or "").replace("\\", "/")).name[-_MAX_NAME:]
    return "upload" if name in {"", ".."} else name


def pieces_of(upload: UploadFile) -> Iterator[bytes]:
    """Yield the content, a megabyte at a time."""
    while piece := upload.file.read(_PIECE_BYTES):
        yield piece


def file_pieces(file: Path) -> Iterator[bytes]:
    """Yield the content of a file that lies here, likewise."""
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE_BYTES):
            yield piece
