"""Who may ask: the right host name, no foreign web page, and the API key where there is one.

Plain ASGI: a middleware that wraps the response in a task of its own would
hide a client's hanging up from the routes.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.errors import ForeignHost, InvalidKey, error_response
from app.errors import InferenceError
from app.settings import Settings, is_loopback

__all__ = ["KEYLESS", "AccessMiddleware", "is_local_name"]

KEYLESS = frozenset({"/health"})
"""Paths that need no key."""


class AccessMiddleware:
    """Refuses before any route runs and before the body is read.

    While the server listens on loopback, its Host must be an address or a name
    that public DNS cannot give to somebody else's page (DNS rebinding), and
    so must be a browser's Origin: a page of the web may not spend this
    machine's GPU. ``/health`` needs no key.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._key = settings.api_key.get_secret_value().encode() if settings.api_key else None
        self._caller = hashlib.sha256(self._key).hexdigest()[:12] if self._key else "anyone"
        self._only_local = is_loopback(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer with what is wrong."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope["path"], Headers(scope=scope))
        if refusal is not None:
            await error_response(scope, refusal)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = self._caller
        await self._app(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> InferenceError | None:
        if self._only_local:
            host = headers.get("host", "")
            if not is_local_name(_host_name(f"//{host}")):
                return ForeignHost(f"This server answers on this machine alone, not as {host[:80]!r}; use http://127.0.0.1 or localhost.")
            origin = headers.get("origin")
            if origin is not None and not is_local_origin(origin):
                return ForeignHost(f"Web pages of {origin[:80]!r} may not use this server.")
        if self._key is not None and path not in KEYLESS and not self._has_key(headers):
            return InvalidKey()
        return None

    def _has_key(self, headers: Headers) -> bool:
        """Look at where OpenAI's clients have their key, and at where Anthropic's have it."""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = (bearer if scheme.lower() == "bearer" else "", headers.get("x-api-key", ""))
        return any(hmac.compare_digest(key.strip().encode(), self._key or b"") for key in given)


def is_local_name(host: str) -> bool:
    """Return whether *host* is an address, or a name that no public DNS answers for.

    ``*.localhost`` is reserved for loopback, ``*.internal`` for private use
    (a container asks for ``host.docker.internal``).
    """
    if host == "localhost" or host.endswith((".localhost", ".internal")):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_local_origin(origin: str) -> bool:
    """Return whether a request with this ``Origin`` may come in. Desktop programs have schemes of their own."""
    scheme = origin.partition("://")[0].lower()
    if scheme in {"http", "https"}:
        return is_local_name(_host_name(origin))
    return "://" in origin


def _host_name(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:  # an unclosed bracket
        return ""
