"""A recording that comes in a form: kept in the spool before its job is submitted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from app.api.forms import file_of, name_of, pieces_of, read_form
from app.api.services import Services
from app.audio.decoding import Probed, probe
from app.errors import InferenceError
from app.jobs.record import JobKind, new_job_id
from app.jobs.submission import NewJob

__all__ = ["HEARD", "Kept", "check_recording", "kept_recording"]

HEARD = frozenset({JobKind.TRANSCRIPTION, JobKind.TRANSLATION})
"""Kinds whose request comes with a recording."""


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


async def check_recording(services: Services, blob: str) -> Probed:
    """See that a recording which is held can be heard, as far as its beginning tells, and return what that says.

    Who waits for the end need not: it says so too.

    Raises:
        UnreadableAudio: It is none, has no sound, or is visibly cut off.
    """
    async with services.decoding:
        return await asyncio.to_thread(probe, services.gateway.path_of(blob))
