"""The OpenAPI document of ``/openapi.json``: FastAPI's own, and what its signatures cannot say.

Made on the first request for it and kept. Bodies are described by the very
models that check them. There is no page that shows it: such pages load
scripts from the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field, create_model
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from app.api.answers import AnthropicError, OpenAIError, Problem, SpeechEvent, TranscriptEvent
from app.api.anthropic.answers import MessageEvent
from app.api.anthropic.requests import CountTokensRequest, MessagesRequest
from app.api.batches.requests import BatchRequest
from app.api.calls import KINDS
from app.api.describe import errors, ref
from app.api.dialects import dialect_of
from app.api.jobs import JobSubmission
from app.api.recordings import HEARD
from app.api.responses.answers import ResponseEvent
from app.api.responses.requests import ResponseRequest, ResponseTokensRequest
from app.api.scopes import KEYLESS, scope_of
from app.api.text_answers import ChatCompletionChunk, TextCompletionChunk
from app.jobs.audio_requests import TranscriptionRequest, TranslationRequest
from app.jobs.files import Purpose
from app.jobs.ocr_requests import OcrFields
from app.jobs.record import Lane
from app.jobs.requests import LoadRequest
from app.jobs.streams import StreamEntry
from app.named_keys import Scope

__all__ = ["install_document"]

_ABOUT = (
    "Every request is a durable job. Chats, responses, completions, embeddings, models, files and batches are as OpenAI has them; "
    "`/v1/jobs` submits, follows and cancels any of the work. `/v1/messages` is as Anthropic has it. Errors are OpenAI's and Anthropic's "
    "on their routes and problem details (RFC 9457) elsewhere; their codes are stable."
)
_METHODS = frozenset({"get", "put", "post", "delete", "patch"})

_PARAMETERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "Prefer": (
        "RFC 7240: `respond-async` answers 202 at once, `wait=10` after ten seconds at the latest. What makes no sense is ignored.",
        {"type": "string", "examples": ["wait=10"]},
    ),
    "Idempotency-Key": (
        "A repeat with the same key and body joins the job of the first request.",
        {"type": "string", "pattern": "^[ -~]{1,255}$"},
    ),
    "Cancel-After": (
        "Seconds after which the job is cancelled if it has not ended; more than 0.",
        {"type": "string", "pattern": r"^(?=.*[1-9])[0-9]{1,7}(\.[0-9]{1,3})?$", "examples": ["30"]},
    ),
    "Range": (
        "Byte ranges of the content (RFC 9110); what is none is ignored.",
        {"type": "string", "examples": ["bytes=0-1023"]},
    ),
}
_HEADERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "X-Request-Id": ("Names this request in the log.", {"type": "string"}),
    "Request-Id": ("The same, under Anthropic's name.", {"type": "string"}),
    "X-Job-Id": ("The job that the answer is of.", {"type": "string"}),
    "Location": ("Where the job is.", {"type": "string", "format": "uri-reference"}),
    "Preference-Applied": ("What was honoured of `Prefer`.", {"type": "string"}),
    "Retry-After": ("Seconds to wait before the next try.", {"type": "string", "pattern": "^[0-9]+$"}),
    "X-Should-Retry": ("`false` where a repeat would end in the same way.", {"type": "string", "const": "false"}),
    "X-Tools-Left-Out": ("Types of tools that the model went without: OpenAI runs them, nobody does here.", {"type": "string"}),
    "WWW-Authenticate": ("How to say the key.", {"type": "string"}),
    "Content-Range": ("Which bytes these are.", {"type": "string"}),
}
_ALWAYS = frozenset({"X-Request-Id", "Request-Id", "Location"})


class UploadForm(BaseModel):
    """The form of an upload."""

    file: Annotated[bytes, Field(min_length=1)]
    purpose: Purpose


class TranscriptionForm(TranscriptionRequest):
    """A recording, and what is asked of it."""

    file: Annotated[bytes, Field(min_length=1)]


class OcrForm(OcrFields):
    """A picture, PDF or TIFF, and how it is to be read."""

    file: Annotated[bytes, Field(min_length=1)]


class FileSubmission(BaseModel):
    """A recording to be written down, and perhaps corrected, or a document to be read, later."""

    file: Annotated[bytes, Field(min_length=1)]
    kind: Literal["transcription", "translation", "transcript", "ocr"]
    lane: Lane = Lane.BATCH
    deadline: datetime | None = None
    webhook: Annotated[str, Field(description="An address, or JSON: `WebhookTarget`.")] | None = None
    request: Annotated[
        str,
        Field(
            description="JSON: what the form of the route would say; of a transcript `TranscriptRequest`, its `file_id` left out.",
            examples=['{"language": "en"}'],
        ),
    ] = "{}"


class TranslationForm(TranslationRequest):
    """A recording, and what is asked of it."""

    file: Annotated[bytes, Field(min_length=1)]


def install_document(app: FastAPI, *, with_key: Callable[[], bool]) -> None:
    """Have *app* complete its document when it makes it.

    Args:
        app: With every route.
        with_key: Says whether requests need an API key, which may change.
    """
    generate = app.openapi
    made: list[dict[str, Any]] = []

    def openapi() -> dict[str, Any]:
        if not made:
            made.append(_completed(generate()))
        return {**made[0], "security": [{"ApiKey": []}]} if with_key() else made[0]

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    document["info"]["description"] = _ABOUT
    for path, operations in document["paths"].items():
        for method in _METHODS & set(operations):
            _complete(method, path, operations[method])
    components = document["components"]
    components["schemas"] = dict(sorted((_without_fastapis_errors(components["schemas"]) | _schemas()).items()))
    components["parameters"] = {name: _parameter(name, *about) for name, about in _PARAMETERS.items()}
    components["headers"] = {
        name: {"description": text, "required": name in _ALWAYS, "schema": schema} for name, (text, schema) in _HEADERS.items()
    }
    components["securitySchemes"] = {
        "ApiKey": {
            "type": "http",
            "scheme": "bearer",
            "description": "Of `mlx-local keys create`, or that of MLX_LOCAL_API_KEY. The header `x-api-key` may have it instead.",
        }
    }
    return document


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _complete(method: str, path: str, operation: dict[str, Any]) -> None:
    """Add the errors that any route may answer with, and give each the shape of its path."""
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]  # FastAPI's guess; ours is a 400
    everywhere = ["foreign_host", "internal_error"]
    if path in KEYLESS:
        operation["security"] = []
    else:
        everywhere += ["invalid_api_key", "insufficient_scope", "rate_limit_exceeded"]
        scope = scope_of(method.upper(), path)
        if scope is not Scope.INFERENCE:
            operation["description"] += f" Needs a key of the scope `{scope}`, where keys are needed."
    for status, response in errors(*everywhere).items():
        known = responses.setdefault(str(status), {"description": response["description"]})
        if response["description"] not in known["description"]:
            known["description"] += f", {response['description']}"
    operation["responses"] = dict(sorted(responses.items()))
    for status, response in responses.items():
        response.setdefault("headers", {}).update({name: ref(name, "headers") for name in dialect_of(path).request_id_headers})
        if int(status) >= HTTPStatus.BAD_REQUEST:
            _shape(path, int(status), response)


def _shape(path: str, status: int, response: dict[str, Any]) -> None:
    dialect = dialect_of(path)
    response["content"] = {dialect.media_type: {"schema": ref(dialect.schema)}}
    names = ["Retry-After", "X-Should-Retry"]
    if status == HTTPStatus.UNAUTHORIZED:
        names = ["WWW-Authenticate"]
    elif status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        names += ["Content-Range"]
    response["headers"] |= {name: ref(name, "headers") for name in names}


def _without_fastapis_errors(schemas: Mapping[str, Any]) -> dict[str, Any]:
    return {name: schema for name, schema in schemas.items() if name not in {"HTTPValidationError", "ValidationError"}}


def _schemas() -> dict[str, Any]:
    """Return the schemas that no signature names, and what they consist of."""
    asked: list[type[BaseModel]] = [*(model for kind, (model, _) in KINDS.items() if kind not in HEARD)]
    asked += [*_submissions(), LoadRequest, ResponseRequest, ResponseTokensRequest]
    asked += [UploadForm, TranscriptionForm, TranslationForm, OcrForm, FileSubmission]
    asked += [MessagesRequest, CountTokensRequest, BatchRequest]
    told: list[type[BaseModel]] = [
        ChatCompletionChunk,
        TextCompletionChunk,
        ResponseEvent,
        TranscriptEvent,
        SpeechEvent,
        MessageEvent,
        OpenAIError,
        AnthropicError,
        Problem,
        StreamEntry,
    ]
    modes: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in asked]
    modes += [(model, "serialization") for model in told]
    _, found = models_json_schema(modes, ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = found["$defs"]
    entry = schemas["StreamEntry"]
    # An event has it as its own id.
    entry["properties"].pop("id")
    entry["required"].remove("id")
    return schemas


def _submissions() -> list[type[BaseModel]]:
    """Return the body of ``POST /v1/jobs``, one model for each kind."""
    return [
        create_model(
            f"{kind.value.title()}Submission",
            __base__=JobSubmission,
            __doc__=f"A job of kind `{kind.value}`.",
            kind=(str, Field(json_schema_extra={"const": kind.value})),
            request=(model, ...),
        )
        for kind, (model, _) in KINDS.items()
        if kind not in HEARD
    ]
