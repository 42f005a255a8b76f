"""Pictures and videos in a chat: each is fetched or decoded here, checked, and kept in the spool before its job is submitted."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.api.forms import file_pieces
from app.api.services import Services
from app.api.videos import held_frames
from app.errors import InferenceError
from app.jobs.submission import NewJob
from app.pictures.data_uri import is_data_uri, read_data_uri
from app.pictures.fetching import fetch
from app.pictures.reading import Limits, check_picture
from app.settings import Settings

__all__ = ["held_content", "limits_of", "with_pictures"]

_SHOWN = {"image_url": "image", "video_url": "video"}  # parts as they come, and as the worker is told of them


async def with_pictures(services: Services, job: NewJob, prefix: tuple[str, ...] = ()) -> NewJob:
    """Return *job* with every picture and video of its messages held for it in the spool, and named by its content.

    Raises:
        UnreadablePicture: One is none, or is broken. Likewise UnreadableVideo.
        PictureTooLarge: One has too many pixels or bytes. Likewise VideoTooLarge.
        PictureNotFetched: One cannot be had from its address. Likewise VideoNotFetched.
        QueueFull: Nothing more can be kept.
    """
    parts = [(where, part) for where, part in _parts(job.request) if part["type"] in _SHOWN]
    if not parts:
        return job
    await services.gateway.check_room()
    blobs: dict[tuple[str, str], str] = {}  # kind and address -> content: the same one is not fetched twice
    try:
        for where, part in parts:
            kind, address = _source(part)
            keep = _kept if kind == "image_url" else held_frames
            try:
                blobs[kind, address] = blobs.get((kind, address)) or await keep(services, address, holder=job.id)
            except InferenceError as error:
                error.param = ".".join((*prefix, *where, kind, "url"))
                raise
    except InferenceError:
        await services.gateway.drop(holder=job.id)
        raise
    request = {**job.request, "messages": [_named(message, blobs) for message in job.request["messages"]]}
    return job.model_copy(update={"request": request, "blobs": tuple(dict.fromkeys(blobs.values()))})


def _parts(request: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    for number, message in enumerate(request.get("messages") or ()):
        if isinstance(message.get("content"), list):
            for place, part in enumerate(message["content"]):
                yield ("messages", str(number), "content", str(place)), part


def _source(part: Mapping[str, Any]) -> tuple[str, str]:
    """Return the kind of a part, and its address."""
    kind = part["type"]
    return kind, part[kind]["url"]


def _named(message: Mapping[str, Any], blobs: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """Return *message* with what its pictures and videos hold instead of where they came from."""
    if not isinstance(message.get("content"), list):  # of an assistant that called tools there may be none
        return dict(message)
    return {**message, "content": [_of_blob(part, blobs) if part["type"] in _SHOWN else part for part in message["content"]]}


def _of_blob(part: Mapping[str, Any], blobs: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    kind, address = _source(part)
    named = {"type": _SHOWN[kind], "blob": blobs[kind, address]}
    return named | ({"detail": part[kind].get("detail") or "auto"} if kind == "image_url" else {})


async def _kept(services: Services, address: str, *, holder: str) -> str:
    """Return the name of the blob that the picture at *address* has become."""
    settings = services.settings
    blob = await held_content(services, address, int(settings.max_picture), holder=holder)
    async with services.decoding:
        await asyncio.to_thread(check_picture, services.gateway.path_of(blob), limits_of(settings))
    return blob


async def held_content(services: Services, address: str, max_bytes: int, *, holder: str) -> str:
    """Return the name of the blob that the content of a data URI has become, or what is at an http address.

    Raises:
        UnreadablePicture: It is no data URI, or a broken one.
        PictureTooLarge: It has more than *max_bytes*.
        PictureNotFetched: It cannot be had from its address.
    """
    if is_data_uri(address):
        content = await asyncio.to_thread(read_data_uri, address, max_bytes)
        return await services.gateway.hold([content], holder=holder)
    settings = services.settings
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "fetched"
        timeout_s = settings.picture_timeout.total_seconds()
        await fetch(address, target, max_bytes=max_bytes, timeout_s=timeout_s, private=settings.private_pictures)
        return await services.gateway.hold(file_pieces(target), holder=holder)


def limits_of(settings: Settings) -> Limits:
    """Return how large a picture may be."""
    return Limits(settings.max_picture_pixels, int(settings.max_picture))
