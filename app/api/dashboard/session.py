"""Who may see the dashboard where a key is needed: a browser that has shown it once.

A browser cannot send an ``Authorization`` header by itself. So a form takes the
key, and the browser gets a random token for it in a cookie that scripts cannot
read and other sites cannot send. The key itself stays in this process's memory
and is checked with every request like that of any other caller; a restart asks
for it again.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from app.api.refusals import ForeignHost

if TYPE_CHECKING:
    from fastapi import Response

__all__ = ["ROOT", "Sessions", "check_same_origin", "cookie_name", "is_page", "let_in", "token_of", "with_session_key"]

ROOT = "/dashboard"
_LASTS_S = 12 * 3600
_AT_MOST = 200


class Sessions:
    """The browsers that have shown a key to this process."""

    def __init__(self) -> None:
        self._keys: OrderedDict[str, tuple[str, float]] = OrderedDict()  # token -> key, and until when

    def open(self, key: str) -> str:
        """Return a new token for *key*, which has been found good."""
        while len(self._keys) >= _AT_MOST:
            self._keys.popitem(last=False)
        token = secrets.token_urlsafe(32)
        self._keys[token] = (key, time.monotonic() + _LASTS_S)
        return token

    def key_of(self, token: str) -> str | None:
        """Return the key that *token* was given for."""
        key, until_s = self._keys.get(token, ("", 0.0))
        return key if time.monotonic() < until_s else None

    def close(self, token: str) -> None:
        """Forget a token."""
        self._keys.pop(token, None)


def with_session_key(scope: Scope) -> Headers:
    """Return the headers of a request; where it is for the dashboard and its cookie is good, with the key that belongs to that."""
    headers = Headers(scope=scope)
    if not is_page(scope["path"]) or "authorization" in headers or "x-api-key" in headers:
        return headers
    sessions: Sessions = scope["app"].state.sessions
    key = sessions.key_of(token_of(scope))
    return headers if key is None else Headers(raw=[*headers.raw, (b"authorization", f"Bearer {key}".encode())])


def is_page(path: str) -> bool:
    """Return whether *path* is one of the dashboard's."""
    return f"{path}/".startswith(f"{ROOT}/")


def token_of(scope: Scope) -> str:
    """Return the token of the request's cookie; empty where it has none."""
    try:
        cookies = SimpleCookie(Headers(scope=scope).get("cookie", ""))
    except CookieError:  # some other program's on this host
        return ""
    found = cookies.get(cookie_name(scope))
    return found.value if found is not None else ""


def cookie_name(scope: Scope) -> str:
    """Return the cookie's name. Cookies know no ports, and each of our two has its own sessions."""
    return f"mlx_dashboard_{(scope.get('server') or ('', 0))[1]}"


def let_in(response: Response, scope: Scope, token: str) -> None:
    """Have the browser send *token* from now on."""
    name, secure = cookie_name(scope), scope["scheme"] == "https"
    response.set_cookie(name, token, max_age=_LASTS_S, path=ROOT, httponly=True, samesite="strict", secure=secure)


def check_same_origin(headers: Headers) -> None:
    """Refuse what another page has a browser send. Browsers say where a request comes from, and pages cannot change that.

    Raises:
        ForeignHost: It comes from elsewhere, or does not say from where.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is None:
        site = "same-origin" if origin is not None and urlsplit(origin).netloc == headers.get("host") else "elsewhere"
    if site != "same-origin":
        message = "Only pages of this dashboard may do that; other programs have /v1/jobs."
        raise ForeignHost(message)
