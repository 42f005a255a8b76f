"""One line of a batch: the job that its body asks for, as the route of its address would make it, and the answer of that job.

What the route refuses is refused here with the same error; what comes as a stream or in the background is refused too, for
the answer of a line is whole.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.api.batches.requests import ENDPOINTS
from app.api.calls import KINDS, Shown, new_job, output_of
from app.api.documents import with_document
from app.api.recordings import check_recording, held_recording
from app.api.responses.chats import NOTES, chat_of, in_its_terms
from app.api.responses.going_on import earlier_of, going_on
from app.api.responses.requests import ResponseRequest
from app.api.responses.stored import shown as shown_response
from app.api.services import Services
from app.api.validation import validated
from app.api.webhooks.asking import refuse_webhook
from app.errors import InferenceError, InvalidRequest
from app.jobs.record import JobKind, Lane
from app.jobs.submission import NewJob
from app.models.catalog import Catalog

__all__ = ["JobOf", "answer_of", "job_of_line", "model_of_body"]

JobOf = Callable[[Services, Mapping[str, Any]], Awaitable[NewJob]]
"""Makes the job that a body asks for. It holds what it reads in the spool, under an id of its own."""


@dataclass(frozen=True, slots=True)
class _Way:
    """What becomes of the lines of one address."""

    kind: JobKind
    job_of: JobOf
    shown: Shown = output_of


async def job_of_line(services: Services, endpoint: str, body: Mapping[str, Any]) -> NewJob:
    """Return the job that a line asks for.

    Raises:
        InferenceError: Whatever the route at *endpoint* would refuse the body with.
    """
    for name in ("stream", "background"):
        if body.get(name):
            message = f"`{name}` is not possible in a batch: the answer comes whole, in the batch's output file."
            raise InvalidRequest(message, param=name)
    refuse_webhook(body)
    return await _WAYS[endpoint].job_of(services, body)


def answer_of(endpoint: str) -> Shown:
    """Return what makes the answer of a line whose job has ended."""
    return _WAYS[endpoint].shown


def model_of_body(catalog: Catalog, endpoint: str, name: object) -> str:
    """Return the id of the model that a body's ``model`` means; nothing where that is an error, which is told in its turn."""
    _, task = KINDS[_WAYS[endpoint].kind]
    try:
        return catalog.resolve(name if isinstance(name, str) else None, task).id
    except InferenceError:
        return ""


async def _checked(services: Services, kind: JobKind, body: object) -> NewJob:
    return await new_job(services, kind, body, lane=Lane.BATCH, waited=False, key=None, deadline=None)


def _of_kind(kind: JobKind) -> JobOf:
    async def job_of(services: Services, body: Mapping[str, Any]) -> NewJob:
        return await _checked(services, kind, body)

    return job_of


async def _document(services: Services, body: Mapping[str, Any]) -> NewJob:
    return await with_document(services, await _checked(services, JobKind.OCR, body))


async def _recording(services: Services, body: Mapping[str, Any]) -> NewJob:
    """Find the recording by ``file_id``, or as a data URI in ``file``; the rest is what the form says."""
    sources = [name for name in ("file_id", "file") if body.get(name) is not None]
    job = await _checked(services, JobKind.TRANSCRIPTION, {name: value for name, value in body.items() if name not in sources})
    if len(sources) != 1 or not isinstance(body[sources[0]], str):
        message = "A recording is named by `file_id`, an uploaded file, or comes in `file`, a data URI; give one of them, as a text."
        raise InvalidRequest(message, param=sources[-1] if sources else "file_id")
    await services.gateway.check_room()
    try:
        blob = await held_recording(services, body[sources[0]], holder=job.id)
        await check_recording(services, blob)
    except InferenceError as error:
        error.param = sources[0]
        await services.gateway.drop(holder=job.id)
        raise
    return job.model_copy(update={"blobs": (blob,)})


async def _response(services: Services, body: Mapping[str, Any]) -> NewJob:
    """Make a response that goes into the output file alone: it is not stored, so it cannot be gone on from."""
    asked = validated(ResponseRequest, body)
    earlier = await earlier_of(services, asked)
    chat = chat_of(asked, body, earlier.turns)
    with in_its_terms(chat.origins):
        job = await _checked(services, JobKind.CHAT, chat.body)
    job = await going_on(services, job, asked, chat, earlier)
    return job.model_copy(update={"request": {**job.request, NOTES: {**chat.notes, "store": False}}})


_WAYS: Mapping[str, _Way] = {
    "/v1/chat/completions": _Way(JobKind.CHAT, _of_kind(JobKind.CHAT)),
    "/v1/completions": _Way(JobKind.COMPLETION, _of_kind(JobKind.COMPLETION)),
    "/v1/embeddings": _Way(JobKind.EMBEDDING, _of_kind(JobKind.EMBEDDING)),
    "/v1/responses": _Way(JobKind.CHAT, _response, shown_response),
    "/v1/ocr": _Way(JobKind.OCR, _document),
    "/v1/audio/transcriptions": _Way(JobKind.TRANSCRIPTION, _recording),
}
assert set(_WAYS) == set(ENDPOINTS)  # noqa: S101 - two lists of the same, one of them for the type checker
