"""What can be done from the dashboard: submit, cancel, retry, and show a key."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from app.api.body import read_body
from app.api.callers import Callers
from app.api.calls import new_job, submit
from app.api.dashboard.pages import PageRoute, bare_page, done, local_path, page
from app.api.dashboard.session import ROOT, cookie_name, let_in, token_of
from app.api.errors import status_of
from app.api.services import Services, ServicesDep
from app.errors import InferenceError, InvalidRequest
from app.jobs.record import JobKind, Lane
from app.models.spec import Task
from app.named_keys import Scope

__all__ = ["router"]

router = APIRouter(prefix=ROOT, route_class=PageRoute, include_in_schema=False)

_FIELDS = 20
_KEY_BYTES = 16 * 1024
_DIGITS = 9
_NEW = {"kind": "chat", "model": "", "lane": "interactive", "max_tokens": "", "text": ""}


async def _form(request: Request, limit_bytes: int) -> dict[str, str]:
    body = await read_body(request, limit_bytes)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS))
    except ValueError as error:
        message = f"The form cannot be read: {error}."
        raise InvalidRequest(message) from None


@router.get("/new")
async def show_new(request: Request, services: ServicesDep) -> Response:
    """Show the form for a new job."""
    return await _new_page(request, services, _NEW)


@router.post("/jobs")
async def create_job(request: Request, services: ServicesDep) -> Response:
    """Submit a chat or an embedding, and go to its page."""
    form = _NEW | await _form(request, int(services.settings.max_body))
    try:
        kind = JobKind.EMBEDDING if form["kind"] == JobKind.EMBEDDING else JobKind.CHAT
        lane = Lane.INTERACTIVE if form["lane"] == Lane.INTERACTIVE else Lane.BATCH
        job = await new_job(services, kind, _body(kind, form), lane=lane, waited=False, key=None, deadline=None)
        job_id = await submit(request, job, services.gateway)
    except InferenceError as error:
        return await _new_page(request, services, form, error)
    return RedirectResponse(f"{ROOT}/jobs/{job_id}", 303)


def _body(kind: JobKind, form: dict[str, str]) -> dict[str, Any]:
    text = form["text"].replace("\r\n", "\n")
    if not text.strip():
        message = "There is no text."
        raise InvalidRequest(message, param="text")
    body: dict[str, Any] = {"model": form["model"]} if form["model"] else {}
    if kind is JobKind.EMBEDDING:
        return body | {"input": text}
    if form["max_tokens"].strip():
        if not form["max_tokens"].strip().isdecimal() or len(form["max_tokens"]) > _DIGITS:
            message = "The longest answer is a whole number of tokens."
            raise InvalidRequest(message, param="max_tokens")
        body["max_tokens"] = int(form["max_tokens"])
    return body | {"messages": [{"role": "user", "content": text}]}


async def _new_page(request: Request, services: Services, form: dict[str, str], error: InferenceError | None = None) -> Response:
    choices = {
        kind: sorted(spec.id for spec in services.catalog if spec.does(task))
        for kind, task in (("chat", Task.CHAT), ("embedding", Task.EMBEDDING))
    }
    status = status_of(error.as_fact().code) if error else 200
    return await page(request, "new.html", status=status, form=form, choices=choices, error=error.message if error else "")


@router.post("/jobs/{job_id}/cancel")
async def cancel_job(request: Request, job_id: str, services: ServicesDep) -> Response:
    """Cancel a job; one that has ended stays as it is."""
    job = await services.gateway.cancel(job_id)
    return done(request, f"{job_id} is {job.state}.", f"{ROOT}/jobs/{job_id}")


@router.post("/jobs/{job_id}/retry")
async def retry_job(request: Request, job_id: str, services: ServicesDep) -> Response:
    """Submit a job that has ended once more, and go to the new one."""
    job = await services.gateway.retry(job_id)
    request.state.job_id = job.id  # the access log's
    return done(request, f"{job.id} is queued.", f"{ROOT}/jobs/{job.id}")


@router.get("/key")
async def ask_for_the_key(request: Request) -> Response:
    """Ask for the API key."""
    if not _callers(request).need_keys:
        return RedirectResponse(ROOT, 303)
    return _key_page(request, request.query_params.get("next", ""))


@router.post("/key")
async def take_key(request: Request) -> Response:
    """Let a browser in that shows a good key, of the scope admin: the dashboard has everybody's jobs."""
    form = await _form(request, _KEY_BYTES)
    key = form.get("key", "").strip()
    caller = _callers(request).of_key(key)
    if caller is None or caller.scope is not Scope.ADMIN:
        return _key_page(request, form.get("next", ""), wrong=True)
    response = RedirectResponse(local_path(form.get("next", "")), 303)
    let_in(response, request.scope, request.app.state.sessions.open(key))
    return response


@router.post("/leave")
async def leave(request: Request) -> Response:
    """Forget what this browser has shown."""
    request.app.state.sessions.close(token_of(request.scope))
    response = RedirectResponse(ROOT, 303)
    response.delete_cookie(cookie_name(request.scope), path=ROOT, httponly=True, samesite="strict")
    return response


def _callers(request: Request) -> Callers:
    callers: Callers = request.app.state.callers
    return callers


def _key_page(request: Request, leads_to: str, *, wrong: bool = False) -> Response:
    return bare_page(request, "key.html", status=401 if wrong else 200, leads_to=local_path(leads_to), wrong=wrong)
