"""A file's content as a response, whole or in ranges.

Starlette refuses ranges in plain text. Here a ``Range`` that is none, or of
another unit than bytes, is ignored, as RFC 9110 asks; one that begins behind
the end is refused in the shape of every other error.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import FileResponse
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from app.api.describe import Responses, ref
from app.api.errors import RangeNotSatisfiable

__all__ = ["BYTES", "CONTENT", "Content"]

BYTES: Mapping[str, Any] = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
"""What the document says of any bytes."""

CONTENT: Responses = {
    200: {"content": {"application/octet-stream": BYTES}},
    206: {
        "description": "The ranges that were asked for.",
        "headers": {"Content-Range": ref("Content-Range", "headers")},
        "content": {"application/octet-stream": BYTES, "multipart/byteranges": BYTES},
    },
}
"""What it says of the answers of a route that sends :class:`Content`."""


class Content(FileResponse):
    """Sends a file."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what is asked for."""

        async def send_unless_refused(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] == HTTPStatus.BAD_REQUEST:
                    raise _NoRange
                if message["status"] == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    raise RangeNotSatisfiable(int(Headers(raw=message["headers"])["content-range"].rpartition("/")[2]))
            await send(message)

        try:
            await super().__call__(scope, receive, send_unless_refused)
        except _NoRange:
            headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
            await super().__call__({**scope, "headers": headers}, receive, send)


class _NoRange(Exception):
    """The ``Range`` header cannot be read."""
