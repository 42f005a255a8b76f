"""What a key allows: the scope of the route, and how many requests. The first dependency of every route.

The internal key is counted by nobody: the daemon's work is the user's own. Nor
are the keys of workers: what they do follows from requests that were counted.
"""

from __future__ import annotations

from contextlib import suppress

from fastapi import Request

from app.api.callers import caller_of
from app.api.refusals import InsufficientScope, RateLimitExceeded
from app.api.scopes import KEYLESS, scope_of
from app.api.services import ServicesDep
from app.errors import StoreUnavailable
from app.exposure import parse_rate
from app.named_keys import INTERNAL, Scope

__all__ = ["check_admin", "permit"]


async def permit(request: Request, services: ServicesDep) -> None:
    """Let the request pass.

    Raises:
        InsufficientScope: The key's scope does not have this route.
        RateLimitExceeded: The key has been used too often.
    """
    caller, path = caller_of(request), request.scope["route"].path_format
    needed = scope_of(request.method, path)
    if needed is not None:
        _check_scope(request, needed, f"{request.method} {path}")
    limit = services.settings.rate_limit
    if limit is None or caller == INTERNAL or caller.scope is Scope.WORKER or path in KEYLESS or path == "/ready":
        return
    wait_s = 0.0
    with suppress(StoreUnavailable):  # nobody counts then, and whatever needs the store fails by itself
        wait_s = await services.gateway.spend(caller.name or "anyone", parse_rate(limit))
    if wait_s > 0:
        raise RateLimitExceeded(limit, wait_s)


def check_admin(request: Request, what: str) -> None:
    """Let a caller pass who may do everything.

    Raises:
        InsufficientScope: The caller may not.
    """
    _check_scope(request, Scope.ADMIN, what)


def _check_scope(request: Request, needed: Scope, what: str) -> None:
    """Let a caller pass whose key has the scope that is needed, or the one that has everything."""
    caller = caller_of(request)
    if caller.scope not in {needed, Scope.ADMIN}:
        raise InsufficientScope(str(caller.name), caller.scope, needed, what)
