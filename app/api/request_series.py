"""Counts requests of this process: by method, route template and status. Never by path: a caller may send any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.types import Scope

from app.jobs.series import Series

if TYPE_CHECKING:
    from app.jobs.tally import Tally

__all__ = ["SERVED", "count_request", "route_of"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
REQUESTS = Series(
    "http_requests_total",
    "Requests that this process answered; status none: the caller was gone before an answer.",
    ("method", "route", "status"),
)
REQUEST_TIMES = Series(
    "http_request_seconds", "From a request's arrival to the end of its answer; a stream's end is its last event.", ("route",), _SECONDS
)
SERVED = (REQUESTS, REQUEST_TIMES)
"""All of them."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def route_of(scope: Scope) -> str | None:
    """Return the template of the route that answered; None: there is none, or the request was refused before it."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None


def count_request(tally: Tally, scope: Scope, status: int | None, seconds: float) -> None:
    """Count one request that has been answered."""
    method = scope["method"] if scope["method"] in _METHODS else "other"
    route = route_of(scope) or "none"
    tally.count(REQUESTS, method, route, str(status or "none"))
    tally.observe(REQUEST_TIMES, route, value=seconds)
