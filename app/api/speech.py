"""``POST /v1/audio/speech``: text becomes sound, sent as it is made; and ``GET /v1/audio/voices``."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.sse import format_sse_event
from pydantic import BaseModel, Field
from pydantic_core import from_json, to_json

from app.api.body import JsonBody
from app.api.calls import accepted, output_of, read_call, submit
from app.api.chunks import DONE, error_frame
from app.api.describe import CALL_HEADERS, errors, sounds, takes
from app.api.hang_up import attached
from app.api.services import Services, ServicesDep
from app.api.sse import EventStream, FlowingBody
from app.api.standing import with_comments
from app.audio.assembling import Assembly
from app.jobs.record import JobKind
from app.models.hub import locate
from app.models.spec import ModelSpec, Task
from app.models.voices import OPENAI_VOICES, voices_of

if TYPE_CHECKING:
    from app.audio.encoding import Encoder
    from app.jobs.feed import Waiter

__all__ = ["Voice", "VoiceList", "router"]

router = APIRouter(prefix="/v1/audio")


class Voice(BaseModel):
    """A voice that a model speaks with."""

    id: str
    name: str
    model: str
    stands_for: str | None = Field(None, description="Whom one of OpenAI's names means in this model.")


class VoiceList(BaseModel):
    """Voices of every model that speaks; of one whose files are not here, OpenAI's names alone."""

    object: str = "list"
    data: list[Voice]
    voices: list[str] = Field(description="The ids alone, each once.")


@router.post(
    "/speech", response_class=Response, responses=sounds("SpeechEvent"), openapi_extra=takes("SpeechRequest", headers=CALL_HEADERS)
)
async def create_speech(request: Request, body: JsonBody, services: ServicesDep) -> Response:
    """Say a text. The sound is sent as it is made, unless a receipt is preferred."""
    call = await read_call(request, body, JobKind.SPEECH, services)
    asked = call.job.request
    form, speed = asked.get("response_format", "mp3"), asked.get("speed", 1.0)
    await asyncio.to_thread(_check_encoding, form, speed)
    job_id = await submit(request, call.job, services.gateway)
    if not call.preference.waits:
        return await accepted(services.gateway, job_id, call.preference)
    if asked.get("stream_format") == "sse":
        return EventStream(_stream(services, job_id, form, speed, as_events=True), services.stopping, error_frame)
    from app.audio.encoding import CONTENT_TYPES

    return FlowingBody(_stream(services, job_id, form, speed, as_events=False), services.stopping, CONTENT_TYPES[form])


def _check_encoding(form: str, speed: float) -> None:
    """Refuse what this machine's PyAV cannot make, before anything is done."""
    from app.audio.encoding import check_encoding

    check_encoding(form, speed)


@asynccontextmanager
async def _stream(services: Services, job_id: str, form: str, speed: float, *, as_events: bool) -> AsyncIterator[AsyncIterator[bytes]]:
    """Wait on the job for as long as its sound is read."""
    async with attached(services, job_id) as waiter:
        events = _events(services, job_id, waiter, form, speed) if as_events else _bytes(services, job_id, waiter, form, speed)
        async with aclosing(events) as pieces:
            yield pieces


async def _bytes(services: Services, job_id: str, waiter: Waiter, form: str, speed: float) -> AsyncGenerator[bytes]:
    """Yield the encoded sound as it comes."""
    voice = _Voice(form, speed)
    async for entry in waiter:
        if entry.sound is not None and (encoded := await voice.say(entry.sound)):
            yield encoded
    await output_of(services.gateway, job_id)  # raises what went wrong
    yield await voice.end()


async def _events(services: Services, job_id: str, waiter: Waiter, form: str, speed: float) -> AsyncGenerator[bytes]:
    """Yield OpenAI's events."""
    voice = _Voice(form, speed)
    pace, glances = services.pace, services.gateway.glances
    async with aclosing(with_comments(waiter, glances, job_id, pace, first_s=pace.first_byte_s)) as entries:
        async for entry in entries:
            if isinstance(entry, bytes):
                yield entry
            elif entry.sound is not None and (encoded := await voice.say(entry.sound)):
                yield _delta(encoded)
    await output_of(services.gateway, job_id)
    if encoded := await voice.end():
        yield _delta(encoded)
    job = await services.gateway.get(job_id)
    yield _frame({"type": "speech.audio.done", "usage": job.usage})
    yield DONE


class _Voice:
    """Encodes one speech, whichever attempts at it make the sound. Encoding happens on another thread."""

    def __init__(self, form: str, speed: float) -> None:
        self._form = form
        self._speed = speed
        self._assembly = Assembly()
        self._encoder: Encoder | None = None

    async def say(self, piece: Any) -> bytes:  # noqa: ANN401 - a SoundPiece
        """Return what *piece* adds to the encoded sound."""
        return await asyncio.to_thread(self._say, piece)

    def _say(self, piece: Any) -> bytes:  # noqa: ANN401 - a SoundPiece
        if self._encoder is None:
            from app.audio.encoding import Encoder

            self._encoder = Encoder(self._form, piece.rate, self._speed)
        encoded: bytes = self._encoder.feed(self._assembly.take(piece))
        return encoded

    async def end(self) -> bytes:
        """Return what comes last."""
        return await asyncio.to_thread(self._encoder.finish) if self._encoder else b""


def _delta(encoded: bytes) -> bytes:
    return _frame({"type": "speech.audio.delta", "audio": base64.b64encode(encoded).decode()})


def _frame(event: dict[str, Any]) -> bytes:
    return format_sse_event(data_str=to_json(event).decode())


@router.get("/voices", responses=errors("model_not_found", "unsupported_task"))
async def list_voices(services: ServicesDep, model: str | None = None) -> VoiceList:
    """Return the voices of the models that speak, or of one of them. OpenAI's names are among them."""
    specs = [services.catalog.resolve(model, Task.TTS)] if model else [spec for spec in services.catalog if Task.TTS in spec.tasks]
    found = [voice for spec in specs for voice in await asyncio.to_thread(_voices, spec, services)]
    return VoiceList(data=found, voices=list(dict.fromkeys(voice.id for voice in found)))


def _voices(spec: ModelSpec, services: Services) -> list[Voice]:
    folder = locate(spec, services.settings)
    known = voices_of(from_json((folder / "config.json").read_bytes())) if folder is not None else None
    if known is None:  # its files are not here, and say more when they are
        return [Voice(id=name, name=name, model=spec.id) for name in OPENAI_VOICES]
    own = [Voice(id=speaker, name=speaker, model=spec.id) for speaker in known.speakers]
    aliases = known.aliases or dict.fromkeys(OPENAI_VOICES)
    return own + [Voice(id=name, name=name, model=spec.id, stands_for=meant) for name, meant in aliases.items()]
