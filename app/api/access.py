"""Who may come in: the right host name, no foreign web page, and who has a key where keys are required.

Plain ASGI: a middleware that wraps the response in a task of its own would
hide a client's hanging up from the routes.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.callers import Callers
from app.api.dashboard.pages import ask_for_key
from app.api.dashboard.session import is_page, with_session_key
from app.api.errors import error_response
from app.api.refusals import ForeignHost, InvalidKey
from app.api.scopes import needs_no_key
from app.errors import InferenceError
from app.exposure import is_loopback, is_named
from app.settings import Settings

__all__ = ["AccessMiddleware", "is_local_name", "is_local_origin"]


class AccessMiddleware:
    """Refuses before any route runs and before the body is read.

    The Host must be an address, a name that public DNS cannot give to somebody
    else's page (DNS rebinding), or one of this machine; and so must be a
    browser's Origin: a page of the web may not spend this machine's GPU.
    What a key allows, a route's own dependency says (``permits.py``).
    """

    def __init__(self, app: ASGIApp, settings: Settings, callers: Callers) -> None:
        self._app = app
        self._callers = callers
        self._names = (*settings.allowed_hosts, settings.host.lower(), *(() if is_loopback(settings.host) else _own_names()))
        self._origins = settings.cors_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer with what is wrong."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = with_session_key(scope)
        refusal = self._of_page(scope["method"], headers)
        if refusal is None:
            caller = self._callers.find(headers)
            if caller is not None:
                scope.setdefault("state", {})["caller"] = caller
            elif not needs_no_key(scope["path"]):
                refusal = InvalidKey()
        if refusal is not None:
            asks = isinstance(refusal, InvalidKey) and is_page(scope["path"])
            response = ask_for_key(scope) if asks else error_response(scope, refusal)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _of_page(self, method: str, headers: Headers) -> InferenceError | None:
        """Refuse what a web page of elsewhere may have sent."""
        host = headers.get("host", "")
        if not self._is_ours(_host_name(f"//{host}")):
            how = "use http://127.0.0.1 or localhost, or add the name to MLX_LOCAL_ALLOWED_HOSTS"
            return ForeignHost(f"This server does not answer as {host[:80]!r}; {how}.")
        origin = headers.get("origin")
        if origin is None:
            if headers.get("sec-fetch-site", "").lower() == "cross-site" and not _is_link(method, headers):
                return ForeignHost("Web pages of elsewhere may not use this server.")
        elif origin.lower() not in self._origins and not (is_local_origin(origin) or self._is_ours(_host_name(origin))):
            return ForeignHost(f"Web pages of {origin[:80]!r} may not use this server (MLX_LOCAL_CORS_ORIGINS).")
        return None

    def _is_ours(self, name: str) -> bool:
        return is_local_name(name) or is_named(name, self._names)


def _is_link(method: str, headers: Headers) -> bool:
    """Return whether a person follows a link to here: then a page of its own is opened, which the other page cannot read."""
    return method == "GET" and headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def _own_names() -> tuple[str, ...]:
    """Return what this machine is called in its network."""
    name = socket.gethostname().lower().removesuffix(".local")
    return (name, f"{name}.local") if name else ()


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
        return (urlsplit(url).hostname or "").rstrip(".").lower()
    except ValueError:  # an unclosed bracket
        return ""
