"""``/v1/models/{name}/…``: models into memory, out of it, onto the disk and off it; and the addresses these once had.

A name may have slashes, as names of the hub do.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from app.api.body import OptionalJsonBody
from app.api.calls import accepted, submit
from app.api.describe import RECEIPT, STORE_ERRORS, Responses, errors, ref, takes
from app.api.downloads import new_download
from app.api.model_moves import load, remove, unload, use_of
from app.api.models import ModelList, ModelName, ModelObject, describe_model, list_all
from app.api.services import Services, ServicesDep
from app.api.validation import validated
from app.jobs.bodies import keep_seconds
from app.jobs.record import Lane
from app.jobs.requests import LoadRequest

__all__ = ["ModelDeleted", "ModelStats", "aliases", "router"]

router = APIRouter(prefix="/v1/models")
aliases = APIRouter(prefix="/v1/admin/models")


class ModelStats(ModelObject):
    """A model, and what uses it."""

    queued: int = Field(description="Jobs that wait for it.")
    running: int = Field(description="Jobs that it works on, or that wait in the worker.")


class ModelDeleted(BaseModel):
    """A model's files are gone; the catalog still has the model. OpenAI's fields, and the bytes."""

    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True
    freed_bytes: int


def _moved(what: str, *codes: str) -> Responses:
    """Return the responses of a route that moves a model."""
    headers = {"Preference-Applied": ref("Preference-Applied", "headers")}
    later: Responses = {202: {"model": ModelObject, "description": f"It is not {what} yet; the worker knows.", "headers": headers}}
    return {200: {"headers": headers}} | later | errors("model_not_found", *codes, "server_stopping", *STORE_ERRORS)


_LOAD: dict[str, Any] = {
    "responses": _moved(
        "in memory",
        *("invalid_request", "body_too_large", "unsupported_media_type"),
        *("model_not_downloaded", "model_too_large", "model_load_failed", "engine_error"),
    ),
    "openapi_extra": takes("LoadRequest", headers=("Prefer",), optional=True),
}
_UNLOAD: dict[str, Any] = {"responses": _moved("out of memory", "model_in_use"), "openapi_extra": takes(headers=("Prefer",))}


@router.post("/{name:path}/load", **_LOAD)
@aliases.post("/{name:path}/load", **_LOAD)
async def load_model(request: Request, response: Response, name: ModelName, body: OptionalJsonBody, services: ServicesDep) -> ModelObject:
    """Have a model in memory, beside or in place of others as for a request of a person; answers once it is there, or why not.

    It is a wish that outlives the worker. With `keep_alive` the model stays, and comes back after a restart, for so long.
    """
    spec = services.catalog.find(name)
    asked = validated(LoadRequest, body)
    await load(services, spec, keep_seconds(asked.keep_alive), request, response)
    return await describe_model(services, spec)


@router.post("/{name:path}/unload", **_UNLOAD)
@aliases.post("/{name:path}/unload", **_UNLOAD)
async def unload_model(request: Request, response: Response, name: ModelName, services: ServicesDep) -> ModelObject:
    """Have a model out of memory that no job uses; one that is not there stays so. The next request for it loads it again."""
    return await _unload(request, response, name, services)


@router.delete("", **_UNLOAD | {"responses": _UNLOAD["responses"] | errors("invalid_request")})
async def unload_named_model(
    request: Request, response: Response, model_name: Annotated[str, Query(min_length=1, max_length=256)], services: ServicesDep
) -> ModelObject:
    """Have a model out of memory: another address of `POST /v1/models/{name}/unload`. Its files stay."""
    return await _unload(request, response, model_name, services)


async def _unload(request: Request, response: Response, name: str, services: Services) -> ModelObject:
    spec = services.catalog.find(name)
    await unload(services, spec, request, response)
    return await describe_model(services, spec)


@router.post(
    "/{name:path}/pull",
    status_code=202,
    responses=RECEIPT | errors("invalid_request", "model_not_found", "hub_offline", "queue_full", *STORE_ERRORS),
)
async def pull_model(request: Request, name: ModelName, services: ServicesDep) -> Response:
    """Download a model of the catalog or the hub; answers with the job that does it, which others may have asked for too."""
    job = new_download(services, {"model": name}, lane=Lane.INTERACTIVE, deadline=None)
    return await accepted(services.gateway, await submit(request, job, services.gateway))


@router.delete(
    "/{name:path}", responses=errors("invalid_request", "model_not_found", "model_not_downloaded", "model_in_use", *STORE_ERRORS)
)
async def delete_model(name: ModelName, services: ServicesDep) -> ModelDeleted:
    """Remove a model's files from the disk, the hub's cache included. A folder that the catalog names is its owner's to delete."""
    spec = services.catalog.find(name)
    return ModelDeleted(id=spec.id, freed_bytes=await remove(services, spec))


@aliases.get("")
async def list_models_for_admins(services: ServicesDep) -> ModelList:
    """Return every model that may be named: another address of `GET /v1/models`."""
    return await list_all(services)


@aliases.get("/{name:path}/stats", responses=errors("model_not_found", *STORE_ERRORS))
async def show_stats(name: ModelName, services: ServicesDep) -> ModelStats:
    """Return a model with what uses it."""
    spec = services.catalog.find(name)
    use = await use_of(services, spec)
    found = await describe_model(services, spec)
    return ModelStats(**found.model_dump(), queued=use.queued, running=use.running)
