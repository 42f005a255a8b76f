"""Reading a request's JSON body: bounded while it arrives, strict, and never a 500.

The Content-Type is not insisted on, because curl and small clients send none
or a wrong one. A form with files is refused by name.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from app.api.errors import BodyTooLarge, ClientHungUp, UnsupportedMediaType
from app.api.services import Services, ServicesDep
from app.errors import InvalidRequest

__all__ = ["JsonBody", "OptionalJsonBody", "json_body", "parse_json", "read_body"]


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """Return the whole body.

    Raises:
        BodyTooLarge: Over *limit_bytes*, as announced or as it arrives.
        ClientHungUp: The connection broke before the body's end.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise BodyTooLarge(limit_bytes)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit_bytes:
                raise BodyTooLarge(limit_bytes)
    except ClientDisconnect:
        raise ClientHungUp from None
    return bytes(body)


def parse_json(raw: bytes, *, field: str | None = None) -> Any:  # noqa: ANN401 - any JSON
    """Return what *raw* says: the body, or a *field* of a form.

    Invalid UTF-8, lone surrogates, NaN and nesting beyond 200 levels are refused like any other malformed JSON.

    Raises:
        InvalidRequest: It is not JSON; the message has line and column.
    """
    try:
        return from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        message = f"{f'`{field}`' if field else 'The body'} is not valid JSON: {error}."
        raise InvalidRequest(message, param=field) from None


async def json_body(request: Request, services: ServicesDep) -> Any:  # noqa: ANN401 - any JSON
    """Read and parse the body of *request*."""
    raw = await _read_json(request, services)
    if not raw.strip():
        message = "The body is empty; send a JSON object (Content-Type: application/json)."
        raise InvalidRequest(message)
    return parse_json(raw)


async def optional_json_body(request: Request, services: ServicesDep) -> Any:  # noqa: ANN401 - any JSON
    """Read and parse the body of *request*; an empty object where it has none."""
    raw = await _read_json(request, services)
    return parse_json(raw) if raw.strip() else {}


async def _read_json(request: Request, services: Services) -> bytes:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type.startswith("multipart/"):
        message = f"This route takes a JSON body (Content-Type: application/json), not {media_type[:80]}."
        raise UnsupportedMediaType(message)
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        message = f"Content-Encoding {coding[:40]!r} is not supported; send the body uncompressed."
        raise UnsupportedMediaType(message)
    return await read_body(request, services.settings.max_body)


JsonBody = Annotated[Any, Depends(json_body)]
OptionalJsonBody = Annotated[Any, Depends(optional_json_body)]
