"""In which words an error is told: OpenAI's, Anthropic's or ours, as the path that was asked says.

OpenAI's routes answer in OpenAI's shape and Anthropic's in Anthropic's, so that
their clients raise the exceptions they know; everything else, ``/v1/jobs``
and ``/v1/worker`` included, answers with problem details (RFC 9457). Codes and statuses are the
same in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from app.errors import Failure

__all__ = ["ANTHROPIC", "OPENAI", "PROBLEM", "Dialect", "dialect_of"]

# What OpenAI calls an error of a status; others are one of the caller's, or one of ours.
_OPENAI_TYPES: Mapping[int, str] = {HTTPStatus.TOO_MANY_REQUESTS: "requests"}

# Likewise Anthropic.
_ANTHROPIC_TYPES: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.CONFLICT: "conflict_error",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request_too_large",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "overloaded_error",
    HTTPStatus.GATEWAY_TIMEOUT: "timeout_error",
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the callers of some paths are told what went wrong."""

    schema: str  # of the body, in the OpenAPI document
    media_type: str
    body: Callable[[Failure, int, str], dict[str, Any]]  # of a failure, its status and the request's id
    request_id_headers: tuple[str, ...] = ("X-Request-Id",)


def _openai(fact: Failure, status: int, _request_id: str) -> dict[str, Any]:
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _OPENAI_TYPES.get(status, "invalid_request_error")
    return {"error": {"message": fact.message, "type": kind, "param": fact.param, "code": fact.code}}


def _anthropic(fact: Failure, status: int, request_id: str) -> dict[str, Any]:
    """Their errors have no field for the parameter at fault, so the message names it."""
    named = fact.param is None or f"`{fact.param}`" in fact.message
    error = {
        "type": _ANTHROPIC_TYPES.get(status, "api_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"),
        "message": fact.message if named else f"{fact.param}: {fact.message}",
        "details": {"error_code": fact.code},
    }
    return {"type": "error", "error": error, "request_id": request_id}


def _problem(fact: Failure, status: int, _request_id: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": fact.message,
        "code": fact.code,
    }
    return body if fact.param is None else body | {"param": fact.param}


OPENAI = Dialect("OpenAIError", "application/json", _openai)
ANTHROPIC = Dialect("AnthropicError", "application/json", _anthropic, ("X-Request-Id", "Request-Id"))
PROBLEM = Dialect("Problem", "application/problem+json", _problem)

# The first that is the path, or above it.
_SPOKEN: tuple[tuple[str, Dialect], ...] = (
    ("/v1/messages", ANTHROPIC),
    ("/v1/jobs", PROBLEM),
    ("/v1/worker", PROBLEM),
    ("/v1", OPENAI),
    ("/v2/rerank", OPENAI),
    ("/rerank", OPENAI),
)


def dialect_of(path: str) -> Dialect:
    """Return what is spoken at *path*."""
    return next((dialect for above, dialect in _SPOKEN if f"{path}/".startswith(f"{above}/")), PROBLEM)
