"""Recordings that come in a form, as a data URI or by an uploaded file's id: kept in the spool before their job is submitted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from app.api.forms import file_of, name_of, pieces_of, read_form
from app.api.services import Services
from app.audio.decoding import Probed, UnreadableAudio, probe
from app.errors import InferenceError, InvalidRequest
from app.jobs.record import JobKind, new_job_id
from app.jobs.submission import NewJob
from app.pictures.data_uri import is_data_uri, read_data_uri
from app.pictures.media import Medium

__all__ = ["HEARD", "Kept", "check_recording", "held_recording", "kept_recording"]

HEARD = frozenset({JobKind.TRANSCRIPTION, JobKind.TRANSLATION})
"""Kinds whose request comes with a recording."""

_RECORDING = Medium(
    "recording", "MLX_LOCAL_MAX_UPLOAD", "", "data:audio/wav;base64,", UnreadableAudio, too_large=InvalidRequest, not_fetched=InvalidRequest
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A form whose file is in the spool."""

    fields: tuple[tuple[str, str], ...]  # all but the file, as they came
    facts: Mapping[str, Any]  # the file's name, size and content: a part of what makes two requests the same one
    job_id: str  # of the job that is going to hold it
    blob: str

    def of(self, job: NewJob) -> NewJob:
        """Return *job* as the one that this recording is for."""
        return job.model_copy(update={"id": self.job_id, "blobs": (self.blob,)})


@asynccontextmanager
async def kept_recording(request: Request, services: Services) -> AsyncIterator[Kept]:
    """Read the form of *request* and keep its file. Where the block fails it is let go of.

    Raises:
        InvalidRequest: The form has no file, or an empty one; likewise what :func:`read_form` raises.
        QueueFull: Nothing more can be kept.
    """
    await services.gateway.check_room()
    form = await read_form(request, services.settings)
    job_id = new_job_id()
    try:
        upload = file_of(form)
        blob = await services.gateway.hold(pieces_of(upload), holder=job_id)
        facts = {"name": name_of(upload), "bytes": upload.size, "content": blob}
        yield Kept(tuple((name, value) for name, value in form.multi_items() if isinstance(value, str)), facts, job_id, blob)
    except InferenceError:
        await services.gateway.drop(holder=job_id)
        raise
    finally:
        await form.close()


async def held_recording(services: Services, said: str, *, holder: str) -> str:
    """Return the name of the blob that a data URI has become, or that an uploaded file is, given by its id.

    Raises:
        UnreadableAudio: It is a data URI that is broken.
        InvalidRequest: It is too large.
        FileNotHere: There is no such file.
    """
    if is_data_uri(said):
        content = await asyncio.to_thread(read_data_uri, said, int(services.settings.max_upload), _RECORDING)
        return await services.gateway.hold([content], holder=holder)
    return await services.gateway.files(lambda files: files.hold(said, holder=holder))


async def check_recording(services: Services, blob: str) -> Probed:
    """See that a recording which is held can be heard, as far as its beginning tells, and return what that says.

    Who waits for the end need not: it says so too.

    Raises:
        UnreadableAudio: It is none, has no sound, or is visibly cut off.
    """
    async with services.decoding:
        return await asyncio.to_thread(probe, services.gateway.path_of(blob))
