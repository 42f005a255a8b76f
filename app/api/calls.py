"""One inference call: from a request body to a job, and from the job to an answer.

What a caller waits on is lane ``interactive`` and is cancelled when the caller
hangs up. What gets a receipt (202) is lane ``batch`` and goes on by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.api.callers import caller_of
from app.api.deadline import deadline_of
from app.api.downloads import check_can_be_had
from app.api.hang_up import attached, while_wanted
from app.api.pictures import with_pictures
from app.api.prefer import Preference, parse_prefer
from app.api.recordings import held_recording
from app.api.services import Services
from app.api.structure import check_structure
from app.api.validation import validated
from app.api.webhooks.asking import refuse_webhook, webhook_of_call
from app.audio.decoding import UnreadableAudio
from app.errors import FileNotHere, InferenceError, InvalidRequest, JobCanceled, JobFailed, JobNotFinished
from app.jobs.audio_requests import SpeechRequest, TranscriptionRequest, TranslationRequest
from app.jobs.feed import Waiter
from app.jobs.gateway import JobGateway
from app.jobs.ocr_requests import OcrRequest
from app.jobs.reading import Output
from app.jobs.record import Job, JobKind, JobState, Lane
from app.jobs.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from app.jobs.rerank_requests import RerankRequest
from app.jobs.submission import Idempotency, NewJob
from app.jobs.transcript_requests import TranscriptRequest
from app.models.spec import Task
from app.pictures.data_uri import is_data_uri
from app.tracing import CURRENT

__all__ = ["KINDS", "Call", "Shown", "accepted", "answer", "idempotency", "new_job", "output_of", "read_call", "submit"]

KINDS: Mapping[JobKind, tuple[type[BaseModel], Task]] = {
    JobKind.CHAT: (ChatRequest, Task.CHAT),
    JobKind.COMPLETION: (CompletionRequest, Task.CHAT),
    JobKind.EMBEDDING: (EmbeddingRequest, Task.EMBEDDING),
    JobKind.TRANSCRIPTION: (TranscriptionRequest, Task.ASR),
    JobKind.TRANSLATION: (TranslationRequest, Task.ASR),
    JobKind.SPEECH: (SpeechRequest, Task.TTS),
    JobKind.OCR: (OcrRequest, Task.OCR),
    JobKind.RERANK: (RerankRequest, Task.RERANK),
    JobKind.TRANSCRIPT: (TranscriptRequest, Task.ASR),
}
"""What checks the request of each kind that users submit, and what its model must be able to do."""

_UNSEEN: Mapping[JobKind, tuple[type[BaseModel], Task]] = {JobKind.COUNT: (ChatRequest, Task.CHAT)}
"""Likewise of kinds that the API submits on its own account."""

Shown = Callable[[JobGateway, str], Awaitable[Output]]
"""Makes an answer's body of a job that has ended, given by its id."""

_MAX_KEY_CHARACTERS = 255


@dataclass(frozen=True, slots=True)
class Call:
    """A checked call of an inference route, not yet submitted."""

    job: NewJob
    preference: Preference

    @property
    def streams(self) -> bool:
        """Whether the answer comes as a stream; a receipt does not."""
        return bool(self.job.request.get("stream")) and self.preference.waits

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with its token counts."""
        return self._stream_option("include_usage")

    @property
    def obfuscates(self) -> bool:
        """Whether a stream's events are padded to even sizes."""
        return self._stream_option("include_obfuscation")

    @property
    def wants_logprobs(self) -> bool:
        """Whether the answer says how likely its tokens were. Of a chat that is asked with a boolean, else with a number."""
        asked = self.job.request.get("logprobs")
        return asked is not None and asked is not False

    def _stream_option(self, name: str) -> bool:
        return bool((self.job.request.get("stream_options") or {}).get(name))


async def new_job(
    services: Services,
    kind: JobKind,
    body: object,
    *,
    lane: Lane,
    waited: bool,
    key: Idempotency | None,
    deadline: datetime | None,
    prefix: tuple[str, ...] = (),
) -> NewJob:
    """Check an OpenAI body and return the job it asks for.

    Raises:
        InvalidRequest: The body is not what *kind* takes, no answer can be held to a schema in it, or it has a webhook.
        UnknownModel: Likewise NoModelForRole, UnsupportedTask, ModelNotDownloaded.
    """
    refuse_webhook(body, prefix)
    model, task = {**KINDS, **_UNSEEN}[kind]
    checked = validated(model, body, prefix=prefix)
    await check_structure(checked, prefix)
    if isinstance(checked, ChatRequest) and (checked.pictures or checked.videos):
        task = Task.VISION
    try:
        spec = services.catalog.resolve(getattr(checked, "model", None), task)
        await check_can_be_had(services, spec)
    except InferenceError as error:
        error.param = ".".join((*prefix, "model"))
        raise
    request = checked.model_dump(mode="json", exclude_unset=True)
    job = NewJob(kind=kind, model=spec.id, lane=lane, request=request, waited=waited, idempotency=key, deadline=deadline)
    return await with_pictures(services, await _with_voice(services, job, prefix), prefix)


async def _with_voice(services: Services, job: NewJob, prefix: tuple[str, ...]) -> NewJob:
    """Let the job hold the recording that it is to speak like, where it names or brings one."""
    said = job.request.get("ref_audio")
    if job.kind is not JobKind.SPEECH or not said:
        return job
    try:
        blob = await held_recording(services, said, holder=job.id)
    except (FileNotHere, InvalidRequest, UnreadableAudio) as error:
        error.param = ".".join((*prefix, "ref_audio"))
        raise
    request = {**job.request, "ref_audio": blob} if is_data_uri(said) else job.request
    return job.model_copy(update={"request": request, "blobs": (blob,)})


async def read_call(
    request: Request,
    body: Any,  # noqa: ANN401 - any JSON
    kind: JobKind,
    services: Services,
    *,
    sent: object = None,
    waits: bool = True,
) -> Call:
    """Turn a request to an inference route into a call.

    Args:
        request: Its headers say the rest.
        body: What *kind* takes.
        kind: Of the job.
        services: Of this process.
        sent: What the caller sent, where *body* is a translation of it: a repeat is told by this.
        waits: False: nobody does, whatever the headers prefer.
    """
    preference = parse_prefer(request.headers.getlist("prefer")) if waits else Preference(respond_async=True)
    streams, tier = (body.get("stream"), body.get("service_tier")) if isinstance(body, dict) else (None, None)
    if streams and preference.respond_async:
        preference = Preference(respond_async=True)  # the whole answer within n seconds is not what a stream's reader expects
    webhook = webhook_of_call(body if sent is None else sent, preference, services.settings)
    asked = {name: value for name, value in body.items() if name != "webhook"} if isinstance(body, dict) else body
    lane = Lane.INTERACTIVE if preference.waits and tier != "flex" else Lane.BATCH
    key = idempotency(request, body if sent is None else sent)
    job = await new_job(services, kind, asked, lane=lane, waited=preference.waits, key=key, deadline=deadline_of(request))
    return Call(job=job.model_copy(update={"webhook": webhook}), preference=preference)


def idempotency(request: Request, body: object) -> Idempotency | None:
    """Read the ``Idempotency-Key`` header. Its scope is the caller and the route, its digest the body's content."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not (0 < len(key) <= _MAX_KEY_CHARACTERS and key.isascii() and key.isprintable()):
        message = f"An Idempotency-Key has 1 to {_MAX_KEY_CHARACTERS} printable ASCII characters."
        raise InvalidRequest(message, param="Idempotency-Key")
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    caller = caller_of(request).name or "anyone"
    return Idempotency(scope=f"{caller}:{request.url.path}", key=key, digest=hashlib.sha256(canonical.encode()).hexdigest())


async def submit(request: Request, job: NewJob, gateway: JobGateway) -> str:
    """Submit *job*, or join the earlier one of its idempotency key. Return the job's id."""
    submitted = await gateway.submit(job.model_copy(update={"traceparent": CURRENT.get()}))
    request.state.job_id = submitted.job_id  # the access log's, and the X-Job-Id header's
    return submitted.job_id


async def answer(request: Request, call: Call, services: Services, shown: Shown | None = None) -> Response:
    """Submit *call* and return its output, or what *shown* makes of it, or the receipt that its caller prefers."""
    job_id = await submit(request, call.job, services.gateway)
    if not call.preference.waits:
        return await accepted(services.gateway, job_id, call.preference)
    async with attached(services, job_id) as waiter:
        if not await while_wanted(_ended(waiter, call.preference.wait_s), request.receive, services.stopping):
            await services.gateway.keep(job_id, waiter)
            return await accepted(services.gateway, job_id, call.preference)
    output = await (shown or output_of)(services.gateway, job_id)
    return Response(output.content, media_type=output.media_type, headers=call.preference.applied)


async def _ended(waiter: Waiter, wait_s: float | None) -> bool:
    try:
        async with asyncio.timeout(wait_s):
            await waiter.done()
    except TimeoutError:
        return False
    return True


async def accepted(gateway: JobGateway, job_id: str, preference: Preference | None = None) -> Response:
    """Return the receipt for a job: 202, where to look, and the job as it stands."""
    job: Job = await gateway.get(job_id)
    headers = {"Location": f"/v1/jobs/{job_id}", "Retry-After": "1"}
    return JSONResponse(job.model_dump(mode="json"), 202, headers | (preference.applied if preference else {}))


async def output_of(gateway: JobGateway, job_id: str) -> Output:
    """Return the output of a job that has ended.

    Raises:
        JobFailed: With the job's own failure.
        JobCanceled: Somebody cancelled it.
        JobNotFinished: It has not ended yet.
    """
    try:
        return await gateway.output(job_id)
    except JobNotFinished:
        job = await gateway.get(job_id)
        if job.error is not None:
            raise JobFailed(job.error) from None
        if job.state is JobState.CANCELED:
            raise JobCanceled(job_id) from None
        raise
