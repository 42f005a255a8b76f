"""One line for each request, an id on each response, a count of it, and the place where a defect becomes a 500."""

from __future__ import annotations

import secrets
import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.dialects import dialect_of
from app.api.errors import InternalError, error_response
from app.api.request_series import count_request
from app.jobs.tally import Tally
from app.log import get_logger

__all__ = ["RequestLogMiddleware"]

log = get_logger("api")

_LOGGED_CHARACTERS = 200  # of a path; a caller may send any
_PROBES = frozenset({"/health", "/ready", "/metrics"})  # asked every few seconds


class RequestLogMiddleware:
    """The outermost part of the application. Logs method, path, status, time and the name of the key; never a body, a query or a header."""

    def __init__(self, app: ASGIApp, tally: Tally) -> None:
        self._app = app
        self._tally = tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, whatever happens."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(8)}"
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        began = time.monotonic()
        status: int | None = None
        where = {"method": scope["method"], "path": scope["path"][:_LOGGED_CHARACTERS]}

        async def send_with_ids(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                ids = [(name.lower().encode(), request_id.encode()) for name in dialect_of(scope["path"]).request_id_headers]
                if "job_id" in state:
                    ids.append((b"x-job-id", state["job_id"].encode()))
                message = {**message, "headers": [*message.get("headers", ()), *ids]}
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_ids)
            except Exception:  # the process boundary: a defect of one request must not become silence for its caller
                log.exception("http.failed", **where)
                if status is not None:
                    raise  # too late for an answer; the server closes the connection, which the client notices
                await error_response(scope, InternalError(request_id))(scope, receive, send_with_ids)
            finally:
                write = log.debug if scope["path"] in _PROBES else log.info
                seconds = time.monotonic() - began
                caller = getattr(state.get("caller"), "name", None)
                job, error = state.get("job_id"), state.get("error")
                write("http.request", **where, status=status, seconds=round(seconds, 4), job=job, key=caller, error=error)
                count_request(self._tally, scope, status, seconds)
