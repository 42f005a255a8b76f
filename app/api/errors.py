"""Which status an error code has, and the responses that errors become. ``dialects.py`` has the shapes of their bodies.

This is the only place that joins codes and statuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from app.api.dialects import PROBLEM, Dialect, dialect_of
from app.api.refusals import RateLimitExceeded
from app.api.validation import invalid_request
from app.errors import Failure, InferenceError, QueueFull

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "STATUS",
    "BodyTooLarge",
    "ClientHungUp",
    "InternalError",
    "MethodNotAllowed",
    "RangeNotSatisfiable",
    "RouteNotFound",
    "ServerStopping",
    "UnsupportedMediaType",
    "error_response",
    "failure_body",
    "install_error_shapes",
    "problem_response",
    "status_of",
]

STATUS: Mapping[str, int] = {
    "invalid_request": 400,
    "context_length_exceeded": 400,
    "model_too_large": 400,
    "request_too_large": 400,
    "unsupported_task": 400,
    "unreadable_audio": 400,
    "unreadable_image": 400,
    "image_too_large": 400,
    "image_not_fetched": 400,
    "unreadable_video": 400,
    "video_too_large": 400,
    "video_not_fetched": 400,
    "unreadable_document": 400,
    "address_not_allowed": 400,
    "invalid_api_key": 401,
    "foreign_host": 403,
    "insufficient_scope": 403,
    "model_not_found": 404,
    "model_not_downloaded": 404,
    "job_not_found": 404,
    "response_not_found": 404,
    "batch_not_found": 404,
    "blob_not_found": 404,
    "wrong_content": 400,
    "route_not_found": 404,
    "method_not_allowed": 405,
    "model_in_use": 409,
    "job_not_finished": 409,
    "job_canceled": 409,
    "illegal_transition": 409,
    "deadline_exceeded": 504,
    "file_not_found": 404,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "rate_limit_exceeded": 429,
    "idempotency_conflict": 422,
    "internal_error": 500,
    "engine_error": 500,
    "model_load_failed": 500,
    "worker_crashed": 500,
    "newer_schema": 500,
    "repo_not_found": 404,
    "repo_gated": 403,
    "hub_offline": 409,
    "download_canceled": 409,
    "download_failed": 502,
    "download_broken": 502,
    "hub_unreachable": 502,
    "webhook_failed": 502,
    "download_stalled": 504,
    "insufficient_disk": 507,
    "disk_full": 507,
    "queue_full": 503,
    "store_unavailable": 503,
    "worker_draining": 503,
    "server_stopping": 503,
    "not_ready": 503,
}
"""A code that is not here is an internal error."""

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_RETRY_AFTER_S = {"store_unavailable": 2, "worker_draining": 2, "server_stopping": 2, "not_ready": 2}


class BodyTooLarge(InferenceError):
    """The request body is over the limit."""

    code = "body_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The request body is larger than the {limit_bytes} bytes that this server takes (MLX_LOCAL_MAX_BODY).")


class UnsupportedMediaType(InferenceError):
    """The body is of a kind that this route cannot read."""

    code = "unsupported_media_type"


class RouteNotFound(InferenceError):
    """There is nothing at this path."""

    code = "route_not_found"


class MethodNotAllowed(InferenceError):
    """The path exists, but not with this method."""

    code = "method_not_allowed"


class RangeNotSatisfiable(InferenceError):
    """A range of bytes begins behind the content's end."""

    code = "range_not_satisfiable"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"The content has {size_bytes} bytes; the range that was asked for begins behind them.", param="Range")
        self.size_bytes = size_bytes


class InternalError(InferenceError):
    """A defect of ours; the log has it under the request id."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"The server failed on this request; its log has the cause under request id {request_id}.")


class ServerStopping(InferenceError):
    """The API process stops while a caller waits. Its job, if it is submitted already, goes on without it."""

    code = "server_stopping"

    def __init__(self, *, submitted: bool = True) -> None:
        goes_on = "The job of header X-Job-Id goes on: GET /v1/jobs/{id} has it after the restart."
        super().__init__(f"The server is stopping. {goes_on if submitted else 'Nothing was submitted: ask again after the restart.'}")


class ClientHungUp(Exception):
    """The client closed the connection before its answer was there."""


def status_of(code: str) -> int:
    """Return the status of *code*."""
    return STATUS.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)


def failure_body(dialect: Dialect, error: InferenceError, request_id: str = "") -> dict[str, Any]:
    """Return the body that tells of *error* where there is no status any more: inside a stream."""
    fact = error.as_fact()
    return dialect.body(fact, status_of(fact.code), request_id)


def error_response(scope: Scope, error: InferenceError, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer to the request of *scope* that ended with *error*."""
    dialect, fact = dialect_of(scope["path"]), error.as_fact()
    status = status_of(fact.code)
    state = scope.setdefault("state", {})
    state["error"] = fact.code  # the access log's
    body = dialect.body(fact, status, state.get("request_id", ""))
    return JSONResponse(body, status, {**_advice(error, fact, status), **(headers or {})}, dialect.media_type)


def problem_response(fact: Failure, **members: Any) -> Response:  # noqa: ANN401 - members of the problem, any JSON
    """Return problem details with further *members*."""
    status = status_of(fact.code)
    retry = {"Retry-After": str(_RETRY_AFTER_S[fact.code])} if fact.code in _RETRY_AFTER_S else {}
    return JSONResponse(PROBLEM.body(fact, status, "") | members, status, retry, PROBLEM.media_type)


def _advice(error: InferenceError, fact: Failure, status: int) -> dict[str, str]:
    """Return the headers that tell a client whether, and when, to try again."""
    if isinstance(error, QueueFull | RateLimitExceeded):
        return {"Retry-After": str(error.retry_after_s)}
    if fact.code in _RETRY_AFTER_S:
        return {"Retry-After": str(_RETRY_AFTER_S[fact.code])}
    if status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, RangeNotSatisfiable):
        return {"X-Should-Retry": "false", "Content-Range": f"bytes */{error.size_bytes}"}
    # OpenAI's clients repeat every 409 and 5xx unless told otherwise. A repeat of
    # what has ended for good would only do the work, or the crash, once more.
    return {"X-Should-Retry": "false"}


def install_error_shapes(app: FastAPI) -> None:
    """Make *app* answer every error in the shape of its route."""

    async def on_inference_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, InferenceError)  # noqa: S101 - for the type checker; Starlette chose by class
        return error_response(request.scope, error)

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - as above
        allow = {"Allow": _allowed(request)} if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else {}
        return error_response(request.scope, _from_http(request, error), {**(error.headers or {}), **allow})

    async def on_invalid_parameter(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
        found: Iterable[Any] = error.errors()
        return error_response(request.scope, invalid_request([{**item, "loc": item["loc"][1:]} for item in found], {}))

    async def on_hang_up(_request: Request, _error: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it; the access log shows it

    app.add_exception_handler(InferenceError, on_inference_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, on_invalid_parameter)
    app.add_exception_handler(ClientHungUp, on_hang_up)


def _allowed(request: Request) -> str:
    """Return the methods of the request's path. The router knows those of one route, and a path may have several."""

    def serves(method: str) -> bool:
        scope = {"type": "http", "method": method, "path": request.scope["path"], "root_path": request.scope.get("root_path", "")}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return ", ".join(method for method in _METHODS if serves(method))


def _from_http(request: Request, error: HTTPException) -> InferenceError:
    """Translate what the router itself refuses."""
    what = f"{request.method} {request.url.path}"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return MethodNotAllowed(f"{what} is not possible; allowed: {_allowed(request)}.")
    if error.status_code == HTTPStatus.NOT_FOUND:
        return RouteNotFound(f"There is no route {what}.")
    message = f"{what}: {error.detail}"
    return InferenceError(message)
