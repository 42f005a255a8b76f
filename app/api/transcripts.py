"""Recordings that are to become transcripts: looked at, and their second model found, before their job is submitted."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from app.api.downloads import check_can_be_had
from app.api.recordings import check_recording
from app.api.services import Services
from app.audio.decoding import UnreadableAudio
from app.errors import FileNotHere, InferenceError, InvalidRequest
from app.jobs.submission import NewJob
from app.jobs.transcript_requests import TranscriptFields
from app.models.spec import Task

__all__ = ["TranscriptAnswer", "for_recording", "with_recording"]


async def with_recording(services: Services, job: NewJob, prefix: tuple[str, ...] = ()) -> NewJob:
    """Return *job* with the uploaded file that its request names held for it; otherwise as :func:`for_recording`.

    Raises:
        InvalidRequest: It names none.
        FileNotHere: There is no such file.
        QueueFull: Nothing more can be kept.
    """
    where, file_id = ".".join((*prefix, "file_id")), job.request.get("file_id")
    if file_id is None:
        message = f"`{where}` is required, or a form with a `file`."
        raise InvalidRequest(message, param=where)
    await services.gateway.check_room()
    try:
        blob = await services.gateway.files(lambda files: files.hold(file_id, holder=job.id))
        found = await for_recording(services, blob, job, prefix)
    except (FileNotHere, UnreadableAudio) as error:
        error.param = where
        await services.gateway.drop(holder=job.id)
        raise
    except InferenceError:
        await services.gateway.drop(holder=job.id)
        raise
    request = {name: value for name, value in found.request.items() if name != "file_id"}
    return found.model_copy(update={"request": request, "blobs": (blob,)})


async def for_recording(services: Services, blob: str, job: NewJob, prefix: tuple[str, ...] = ()) -> NewJob:
    """Return *job* with the model that is to correct, for a recording that is held in the spool as *blob*.

    Raises:
        UnreadableAudio: It is no recording, or visibly cut off. That it can be decoded to its end is found out by the worker.
        UnknownModel: Likewise NoModelForRole, UnsupportedTask, ModelNotDownloaded.
    """
    corrector = await _corrector(services, job, prefix)
    probed = await check_recording(services, blob)
    return job.model_copy(update={"request": {**job.request, "correction_model": corrector, "duration_s": probed.duration_s}})


async def _corrector(services: Services, job: NewJob, prefix: tuple[str, ...]) -> str | None:
    """Return the id of the model that is to correct; None: nothing is to be corrected."""
    asked = TranscriptFields.model_validate(job.request)
    if not asked.corrects:
        return None
    try:
        spec = services.catalog.resolve(asked.correction_model, Task.CHAT)
        await check_can_be_had(services, spec)
    except InferenceError as error:
        error.param = ".".join((*prefix, "correction_model"))
        raise
    return spec.id


class TranscriptSpan(BaseModel):
    """A stretch of the text as it was heard, in seconds."""

    start: float
    end: float
    text: str


class TranscriptPiece(BaseModel):
    """A piece of the text, and what became of it. Joined, the pieces are the text."""

    raw: str = Field(description="As it was heard.")
    corrected: str | None
    kept_raw: Literal["answered", "translated", "summarised", "runaway", "failed", "looped", "empty", "reworded"] | None = Field(
        description="Why it stays as it was heard: what the model did instead of correcting it."
    )
    uncertain: list[str] = Field(description="Words that the model is not sure of.")


class TranscriptUsage(BaseModel):
    """What a transcript is counted by; tokens are those of its correction."""

    type: Literal["duration"]
    seconds: int
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


class TranscriptAnswer(BaseModel):
    """A recording, written down and corrected."""

    object: Literal["transcript"]
    model: str = Field(description="That heard.")
    correction_model: str | None
    language: str | None = Field(description="What was spoken, as ISO code; null where nobody speaks.")
    duration: float = Field(description="Of the recording, in seconds.")
    text: str = Field(description="As it was heard, in paragraphs.")
    segments: list[TranscriptSpan]
    corrected: str | None = Field(description="The text with pieces corrected; null where that was not asked for.")
    pieces: list[TranscriptPiece]
    corrected_pieces: int
    total_pieces: int
    uncertain_words: list[str] = Field(description="Marked in `corrected` as 【?word】; each once.")
    warnings: list[str]
    heard_warnings: list[str] = Field(default=[], description="Those of `warnings` that concern `text`; the others concern `corrected`.")
    usage: TranscriptUsage
