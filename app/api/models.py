"""``/v1/models``: OpenAI's list, with what a local user wants to know besides."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter
from fastapi import Path as Name
from pydantic import BaseModel, Field

from app.api.describe import errors
from app.api.services import Services, ServicesDep
from app.errors import StoreUnavailable
from app.jobs.decoding import ModelState
from app.jobs.reading import JobReader
from app.models.hub import locate
from app.models.sizes import Sizes, sizes_of
from app.models.spec import ModelSpec, Task

__all__ = ["ModelList", "ModelName", "ModelObject", "describe_model", "list_all", "router"]

router = APIRouter(prefix="/v1/models")

ModelName = Annotated[str, Name(examples=["chat"], description="An id, alias, hub name or role, in any case.")]


class ModelObject(BaseModel):
    """One model. The first four fields are OpenAI's."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When its files came to this machine, unix seconds; 0 where they are not here.")
    owned_by: str
    repo: str
    tasks: list[Task]
    roles: list[str]
    aliases: list[str]
    residency: Literal["always", "on-demand"]
    state: Literal["not_downloaded", "downloading", "downloaded", "waiting", "loading", "resident", "failed"]
    detail: str | None = Field(description="What there is to say of that state.")
    downloaded: bool
    resident: bool
    bytes: int = Field(description="Memory it takes now; 0 where it is not resident.")
    need_bytes: int = Field(description="Free memory that a load of it needs, by estimate; 0 where that is not known.")
    disk_bytes: int = Field(description="Size of its files; 0 where they are not here.")


class ModelList(BaseModel):
    """Every model of the catalog, on this machine or not."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


@router.get("")
async def list_models(services: ServicesDep) -> ModelList:
    """Return every model that may be named."""
    return await list_all(services)


@router.get("/{name:path}", responses=errors("model_not_found"))
async def show_model(name: ModelName, services: ServicesDep) -> ModelObject:
    """Return the model that *name* means: an id, alias, hub name or role, in any case."""
    return await describe_model(services, services.catalog.find(name))


async def list_all(services: Services) -> ModelList:
    """Describe every model of the catalog."""
    return ModelList(data=await _describe(services, list(services.catalog)))


async def describe_model(services: Services, spec: ModelSpec) -> ModelObject:
    """Describe one model as it is now."""
    return (await _describe(services, [spec]))[0]


async def _describe(services: Services, specs: list[ModelSpec]) -> list[ModelObject]:
    files = await asyncio.to_thread(lambda: [_files(spec, services) for spec in specs])
    states = await _states(services)
    return [_object(spec, *found, states.get(spec.id), services) for spec, found in zip(specs, files, strict=True)]


def _files(spec: ModelSpec, services: Services) -> tuple[Path | None, Sizes]:
    folder = locate(spec, services.settings)
    return folder, sizes_of(spec, folder)


async def _states(services: Services) -> Mapping[str, ModelState]:
    """Return what the workers say. The list of models is worth having while Redis is away, too."""
    try:
        return await services.gateway.read(JobReader.model_states)
    except StoreUnavailable:
        return {}


def _object(spec: ModelSpec, folder: Path | None, sizes: Sizes, said: ModelState | None, services: Services) -> ModelObject:
    on_disk = "downloaded" if folder else "not_downloaded"
    return ModelObject.model_validate(
        {
            "id": spec.id,
            "created": _arrived(folder),
            "owned_by": spec.repo.partition("/")[0] or "local",
            "repo": spec.repo if spec.directory is None else spec.directory.name,
            "tasks": list(spec.tasks),
            "roles": [role for role, model_id in services.catalog.roles.items() if model_id == spec.id],
            "aliases": list(spec.aliases),
            "residency": spec.residency,
            "state": said.state if said else on_disk,
            "detail": (said.detail or None) if said else None,
            "downloaded": folder is not None,
            "resident": said is not None and said.state == "resident",
            "bytes": said.bytes if said else 0,
            "need_bytes": sizes.need_bytes,
            "disk_bytes": sizes.disk_bytes,
        },
    )


def _arrived(folder: Path | None) -> int:
    try:
        return int((folder / "config.json").stat().st_mtime) if folder else 0
    except OSError:  # removed a moment ago
        return 0
