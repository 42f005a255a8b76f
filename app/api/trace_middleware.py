"""A span for each request, where spans are collected; else this is no part of the application."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.request_series import route_of
from app.tracing import Traces

__all__ = ["TraceMiddleware"]


class TraceMiddleware:
    """Spans requests. A stream's span ends with its last event."""

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request inside its span."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state: dict[str, Any] = scope.setdefault("state", {})
        with self._traces.serving(scope["method"], Headers(scope=scope)) as span:

            async def send_and_note(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.status = message["status"]
                await send(message)

            try:
                await self._app(scope, receive, send_and_note)
            finally:
                span.route, span.job_id = route_of(scope), state.get("job_id")
