"""What a key allows: the scope of the route, and how many requests. The first dependency of every route.

The internal key is counted by nobody: the daemon's work is the user's own.
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
    if scope_of(request.method, path) is Scope.ADMIN:
        check_admin(request, f"{request.method} {path}")
    limit = services.settings.rate_limit
    if limit is None or caller == INTERNAL or path in KEYLESS or path == "/ready":
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
    caller = caller_of(request)
    if caller.scope is not Scope.ADMIN:
        raise InsufficientScope(str(caller.name), caller.scope, what)
