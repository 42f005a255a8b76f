"""What a route says of itself in the OpenAPI document, beside what FastAPI reads from its signature.

Plain data that names components by reference; ``openapi.py`` defines them when
the document is first asked for, so a process that starts pays nothing.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from app.api.errors import STATUS
from app.jobs.record import Job

__all__ = [
    "CALL_HEADERS",
    "DELIVERY_ERRORS",
    "JOB_ERRORS",
    "RECEIPT",
    "STORE_ERRORS",
    "SUBMISSION_ERRORS",
    "as_json",
    "called",
    "errors",
    "event_stream",
    "ref",
    "sounds",
    "takes",
]

Responses = dict[int | str, dict[str, Any]]

STORE_ERRORS = ("store_unavailable", "newer_schema")
"""Of whatever needs the job store."""

JOB_ERRORS = (
    *("invalid_request", "context_length_exceeded", "model_too_large", "unsupported_task"),
    *("unreadable_audio", "unreadable_image", "unreadable_document"),
    *("job_canceled", "deadline_exceeded"),
    *("engine_error", "model_load_failed", "worker_crashed", "download_failed"),
)
"""How a job may end."""

DELIVERY_ERRORS = ("webhook_failed", "address_not_allowed")
"""How a delivery may end."""

SUBMISSION_ERRORS = (
    *("invalid_request", "body_too_large", "unsupported_media_type"),
    *("unsupported_task", "model_not_found", "model_not_downloaded"),
    *("unreadable_image", "image_too_large", "image_not_fetched"),
    *("unreadable_video", "video_too_large", "video_not_fetched"),
    *("unreadable_document", "unreadable_audio", "file_not_found"),
    *("idempotency_conflict", "queue_full"),
    *STORE_ERRORS,
)
"""Of a request that submits a job."""

_CALL_ERRORS = (*SUBMISSION_ERRORS, *JOB_ERRORS, "server_stopping")
"""Of one that also waits for its end."""

CALL_HEADERS = ("Prefer", "Idempotency-Key", "Cancel-After")


def ref(name: str, part: str = "schemas") -> dict[str, Any]:
    """Return a reference to a component."""
    return {"$ref": f"#/components/{part}/{name}"}


def takes(
    *models: str, headers: tuple[str, ...] = (), media_type: str = "application/json", optional: bool = False, form: str | None = None
) -> dict[str, Any]:
    """Return ``openapi_extra`` of a route that reads its body and headers by hand.

    Args:
        models: Schema of the body; of several, the one that its ``kind`` names; none: it takes no body.
        headers: Parameters among the components.
        media_type: Of the body.
        optional: A request may have no body.
        form: Schema of the form that may come instead.
    """
    parameters = {"parameters": [ref(name, "parameters") for name in headers]}
    if not models:
        return parameters
    schema = ref(models[0])
    if len(models) > 1:
        schema = {"oneOf": [ref(model) for model in models]}
    content = {media_type: {"schema": schema}} | ({"multipart/form-data": {"schema": ref(form)}} if form else {})
    return {"requestBody": {"required": not optional, "content": content}} | parameters


def errors(*codes: str) -> Responses:
    """Return the error responses of a route, from the codes that it may answer with. Their shape follows from its path."""
    found: Responses = {}
    for code in dict.fromkeys(codes):
        known = found.setdefault(STATUS[code], {}).get("description")
        found[STATUS[code]]["description"] = f"{known}, `{code}`" if known else f"`{code}`"
    return found


def event_stream(*data: dict[str, Any], **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON schema
    """Return the content of a response that is a stream.

    Args:
        data: Schemas of what an event's ``data`` may be.
        fields: Schemas of an event's other fields.
    """
    event = {"type": "object", "required": ["data"], "properties": {"data": {"anyOf": list(data)}, **fields}}
    return {"content": {"text/event-stream": {"schema": event | {"description": "One event of the stream."}}}}


def as_json(*models: str) -> dict[str, Any]:
    """Return the schema of event data that is JSON."""
    content = ref(models[0]) if len(models) == 1 else {"anyOf": [ref(model) for model in models]}
    return {"type": "string", "contentMediaType": "application/json", "contentSchema": content}


RECEIPT: Responses = {
    202: {
        "model": Job,
        "description": "Accepted: the job as it stands.",
        "headers": {name: ref(name, "headers") for name in ("Location", "Retry-After", "X-Job-Id", "Preference-Applied")},
    },
}


def called(answer: type[BaseModel], *others: str, chunk: str | None = None, codes: tuple[str, ...] = ()) -> Responses:
    """Return the responses of an inference route.

    Args:
        answer: The whole answer, as JSON.
        others: Media types that it may be instead.
        chunk: Schema of what it is streamed in, where it can be.
        codes: Errors of this route alone.
    """
    stream = event_stream(as_json(chunk, "OpenAIError"), {"const": "[DONE]"}) if chunk else {}
    for media_type in others:
        stream.setdefault("content", {})[media_type] = {"schema": {"type": "string"}}
    headers = {name: ref(name, "headers") for name in ("X-Job-Id", "Preference-Applied")}
    return {200: {"model": answer, "headers": headers} | stream} | RECEIPT | errors(*_CALL_ERRORS, *codes)


def sounds(chunk: str) -> Responses:
    """Return the responses of a route that answers with sound, which may also come as events of schema *chunk*."""
    types = ("audio/mpeg", "audio/ogg", "audio/aac", "audio/flac", "audio/wav", "audio/pcm")
    stream = event_stream(as_json(chunk, "OpenAIError"), {"const": "[DONE]"})
    for media_type in types:
        stream["content"][media_type] = {"schema": {"type": "string", "contentMediaType": media_type}}
    headers = {name: ref(name, "headers") for name in ("X-Job-Id",)}
    return {200: {"description": "The sound.", "headers": headers} | stream} | RECEIPT | errors(*_CALL_ERRORS)
