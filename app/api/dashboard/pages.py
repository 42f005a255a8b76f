"""Pages as responses: their frame, the headers that keep strangers out of them, and errors in their shape."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import urlencode, urlsplit

from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.routing import APIRoute
from markupsafe import Markup
from starlette.types import Scope

from app.api.dashboard.board import Board, View
from app.api.dashboard.rendering import render
from app.api.dashboard.session import ROOT, check_same_origin
from app.api.dashboard.views import NoView
from app.api.errors import status_of
from app.errors import InferenceError

__all__ = ["BoardDep", "PageRoute", "ask_for_key", "bare_page", "done", "local_path", "page"]

_THEMES = frozenset({"light", "dark"})
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}


def get_board(request: Request) -> Board:
    """Return the dashboard of the application that serves *request*."""
    board: Board = request.app.state.board
    return board


BoardDep = Annotated[Board, Depends(get_board)]


class PageRoute(APIRoute):
    """A route of the dashboard: only its own pages may post to it, its errors are pages, and nothing of it may be framed."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's, with that around it."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                if request.method == "POST":
                    check_same_origin(request.headers)
                response = await handle(request)
            except InferenceError as error:
                response = _error_page(request, error)
            for name, value in _HEADERS.items():
                response.headers[name] = value
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return answer


async def page(
    request: Request,
    template: str,
    view: View | None = None,
    *,
    status: int = 200,
    events: str = "",
    **facts: Any,  # noqa: ANN401 - whatever the template shows
) -> HTMLResponse:
    """Return a page.

    Args:
        request: Whose browser says which theme.
        template: Of its middle.
        view: What of it is kept up to date; None: what every page shows.
        status: Of the answer.
        events: Where news of the view come from; empty: of what every page shows.
        **facts: For the template.
    """
    parts = await get_board(request).draw(view or NoView())
    # Made by our own templates, which escape what they are given.
    marked = {name: Markup(html) for name, html in parts.items()}  # noqa: S704
    return HTMLResponse(_framed(request, template, events=events or f"{ROOT}/head/events", parts=marked, **facts), status)


def bare_page(request: Request, template: str, *, status: int = 200, **facts: Any) -> HTMLResponse:  # noqa: ANN401 - as above
    """Return a page that tells nothing of any job, for those who have shown no key, and asks nothing of the store."""
    return HTMLResponse(_framed(request, template, events="", parts={}, **facts), status)


def ask_for_key(scope: Scope) -> Response:
    """Return what a browser is answered that has no key yet: where the form is; a script is told so by the status alone."""
    request = Request(scope)
    if request.method != "GET" or "text/html" not in request.headers.get("accept", ""):
        return Response(status_code=401, headers={"WWW-Authenticate": "Bearer", "Cache-Control": "no-store"})
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{ROOT}/key?{urlencode({'next': here})}", 303)


def done(request: Request, said: str, href: str) -> Response:
    """Answer a post: the script is told what was done, everybody else goes to where it can be seen."""
    if "x-quiet" in request.headers:
        return JSONResponse({"said": said, "href": href})
    return RedirectResponse(href, 303)


def local_path(address: str) -> str:
    """Return an address that a form was given to lead back to, if it is one of ours."""
    parts = urlsplit(address)
    ours = not parts.scheme and not parts.netloc and f"{parts.path}/".startswith(f"{ROOT}/") and "\\" not in address
    return address if ours else ROOT


def _error_page(request: Request, error: InferenceError) -> Response:
    status = status_of(error.as_fact().code)
    if "x-quiet" in request.headers:
        return JSONResponse({"said": error.message}, status)
    return bare_page(request, "message.html", status=status, message=error.message)


def _framed(request: Request, template: str, **facts: Any) -> str:  # noqa: ANN401 - see above
    theme = request.cookies.get("mlx_theme", "")
    frame = {
        "theme": theme if theme in _THEMES else "",
        "path": request.url.path,
        "with_key": request.app.state.callers.need_keys,
    }
    return render(template, **frame, **facts)
