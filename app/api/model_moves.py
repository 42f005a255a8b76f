"""What a user may do with a model: have it in memory, out of it, or off the disk.

Workers alone move models, so a wish is recorded for them (:mod:`app.jobs.wishes`)
and waited on for a while. Nothing here takes a model away from a job: one that
runs or waits is a conflict. Between that check and the worker's own a job may
come; then the model leaves when nothing uses it any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import Request, Response

from app.api.hang_up import while_wanted
from app.api.prefer import Preference, parse_prefer
from app.api.services import Services
from app.errors import ModelInUse, ModelNotDownloaded, WishFailed
from app.jobs.reading import JobReader
from app.jobs.wishes import Use, Wish
from app.models.hub import locate
from app.models.removal import remove_files
from app.models.spec import ModelSpec

__all__ = ["load", "remove", "unload", "use_of"]

_WAIT_S = 60.0
_LOOK_EVERY_S = 0.05  # what is looked at is one field in Redis, for one admin's call


async def load(services: Services, spec: ModelSpec, keep_s: float | None, request: Request, response: Response) -> None:
    """Have *spec* in memory; *response* is a 202 where that takes longer than the caller waits.

    Raises:
        ModelNotDownloaded: Its files are on no machine that has a worker.
        WishFailed: It cannot be loaded; with the worker's own words.
    """
    absent = await asyncio.to_thread(locate, spec, services.settings) is None
    if absent and not any(spec.id in (worker.has or ()) for worker in await services.gateway.read(JobReader.workers)):
        raise ModelNotDownloaded(spec.id)
    wish = await services.gateway.wishes(lambda wishes: wishes.say(spec.id, "resident", keep_s))

    async def came() -> bool:
        said = (await services.gateway.read(JobReader.model_states)).get(spec.id)
        if said is not None and said.state == "resident":
            return True
        now = await _find(services, spec)
        if now is not None and now.at >= wish.at and now.error is not None:  # ours, or that of somebody who asked after us
            raise WishFailed(now.error)
        return False

    await _wait(services, came, request, response)


async def unload(services: Services, spec: ModelSpec, request: Request, response: Response) -> None:
    """Have *spec* out of memory, if it is there; *response* is a 202 where that takes longer than the caller waits.

    Raises:
        ModelInUse: Jobs of it run, or wait.
    """
    _refuse_busy(spec, await use_of(services, spec))
    if not await services.gateway.read(JobReader.workers):  # what a worker had in memory went with it
        await services.gateway.wishes(lambda wishes: wishes.forget(spec.id))
        return
    wish = await services.gateway.wishes(lambda wishes: wishes.say(spec.id, "absent"))

    async def left() -> bool:
        now = await _find(services, spec)
        if now is None:  # granted; the worker says so a moment later
            said = (await services.gateway.read(JobReader.model_states)).get(spec.id)
            return said is None or said.state not in {"resident", "loading"}
        return now != wish

    await _wait(services, left, request, response)


async def remove(services: Services, spec: ModelSpec) -> int:
    """Remove the files of *spec* from the disk and return how many bytes that freed.

    Raises:
        ModelInUse: It is in memory or on its way there, jobs of it run or wait, or its files are being fetched.
        ModelNotDownloaded: There are none.
        InvalidRequest: It is a folder of the user's.
    """
    use = await use_of(services, spec)
    _refuse_busy(spec, use)
    if use.downloads:
        message = f"The files of {spec.id!r} are being downloaded; cancel that job first (GET /v1/jobs?model={spec.id})."
        raise ModelInUse(message, param="model")
    said = (await services.gateway.read(JobReader.model_states)).get(spec.id)
    if said is not None and said.state in {"resident", "loading"}:
        message = f"The model {spec.id!r} is {said.state}; unload it first (POST /v1/models/{spec.id}/unload)."
        raise ModelInUse(message, param="model")
    await services.gateway.wishes(lambda wishes: wishes.forget(spec.id))
    freed_bytes = await asyncio.to_thread(remove_files, spec, services.settings)
    if not freed_bytes:
        raise ModelNotDownloaded(spec.id)
    return freed_bytes


async def use_of(services: Services, spec: ModelSpec) -> Use:
    """Return what uses a model, or waits to."""
    return await services.gateway.wishes(lambda wishes: wishes.use_of(spec.id))


def _refuse_busy(spec: ModelSpec, use: Use) -> None:
    if use.busy:
        jobs = " and ".join(f"{count} {what}" for count, what in ((use.running, "running"), (use.queued, "queued")) if count)
        message = f"The model {spec.id!r} is in use by {jobs} jobs; wait for their end or cancel them."
        raise ModelInUse(message, param="model")


async def _find(services: Services, spec: ModelSpec) -> Wish | None:
    return await services.gateway.wishes(lambda wishes: wishes.find(spec.id))


async def _wait(services: Services, done: Callable[[], Awaitable[bool]], request: Request, response: Response) -> None:
    """Look until a wish is granted, the caller waits no more, or there is nobody to grant it."""
    preference = parse_prefer(request.headers.getlist("prefer"))
    response.headers.update(preference.applied)
    if not await while_wanted(_granted(services, done, preference), request.receive, services.stopping):
        response.status_code = 202


async def _granted(services: Services, done: Callable[[], Awaitable[bool]], preference: Preference) -> bool:
    if not preference.waits:
        return await done()
    try:
        async with asyncio.timeout(_WAIT_S if preference.wait_s is None else preference.wait_s):
            while not await done():
                if not await services.gateway.read(JobReader.workers):
                    return False
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError:
        return False
    return True
