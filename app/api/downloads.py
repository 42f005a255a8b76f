"""Asking for a model's files: which model a name means, and the job that fetches it."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

from app.api.services import Services
from app.api.validation import validated
from app.api.webhooks.asking import refuse_webhook
from app.errors import InferenceError, InvalidRequest, ModelNotDownloaded
from app.jobs.record import Lane
from app.jobs.requests import DownloadRequest
from app.jobs.submission import NewJob, download_job
from app.models.adopt import find_or_propose
from app.models.download_errors import HubOffline
from app.models.hub import hub_offline, locate
from app.models.spec import ModelSpec

__all__ = ["check_can_be_had", "new_download"]


def new_download(services: Services, body: object, *, lane: Lane, deadline: datetime | None, prefix: tuple[str, ...] = ()) -> NewJob:
    """Check a request for a download and return its job. What is here already is no error: the job finds nothing to do.

    Raises:
        InvalidRequest: The body is wrong, or the model is a directory of the catalog.
        UnknownModel: The name is neither of the catalog nor of the form ``organisation/name``.
        HubOffline: The user wants no downloads.
    """
    refuse_webhook(body, prefix)
    asked = validated(DownloadRequest, body, prefix=prefix)
    param = ".".join((*prefix, "model"))
    try:
        model, repo = find_or_propose(asked.model, services.catalog)
    except InferenceError as error:
        error.param = param
        raise
    if Path(repo).is_absolute():
        message = f"{model!r} is a folder of the catalog ({Path(repo).name}), so there is nothing to download; put its files there."
        raise InvalidRequest(message, param=param)
    if hub_offline():
        raise HubOffline(repo)
    return download_job(model, repo, lane=lane, deadline=deadline)


async def check_can_be_had(services: Services, spec: ModelSpec) -> None:
    """Let a model pass whose files are here, or can come: the worker fetches them before it runs the job.

    Raises:
        ModelNotDownloaded: They are not here, and downloads are off or the model is a directory.
    """
    if spec.directory is None and not hub_offline():
        return
    if await asyncio.to_thread(locate, spec, services.settings) is None:
        raise ModelNotDownloaded(spec.id)
