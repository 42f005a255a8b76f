"""The body of ``POST /v1/ocr``, checked: what is to be read, and how. As :mod:`app.jobs.requests` does for text."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from app.documents.ranges import PAGES_PATTERN
from app.jobs.bodies import KEEP_ALIVE_WORDS, Body, KeepAlive, ModelName, refusal

__all__ = ["SOURCES", "OcrFields", "OcrRequest", "OcrTask"]

OcrTask = Literal["ocr", "table", "formula", "chart"]

SOURCES = ("image", "document", "file_id")
"""Fields of which one says what is to be read; none where a form brings it as a file. Who reads the request sees to that."""

_MAX_PROMPT_CHARACTERS = 20_000
_MAX_TOKENS = 2**31 - 1


class OcrFields(Body):
    """How a picture or a document is to be read that comes beside this."""

    model: ModelName | None = Field(None, examples=["ocr"])
    task: OcrTask = Field("ocr", description="What is in it; `ocr` is text.")
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=_MAX_PROMPT_CHARACTERS)] | None = Field(
        None, description="Said to the model instead of the task's own words."
    )
    pages: Annotated[str, StringConstraints(pattern=PAGES_PATTERN, max_length=1000)] | None = Field(
        None, description="Numbers and ranges, counted from 1; unset: all.", examples=["1-3,7,12-"]
    )
    max_tokens: Annotated[int, Field(ge=1, le=_MAX_TOKENS)] | None = Field(None, description="Of each page.")
    response_format: Literal["json", "text", "markdown"] = "json"
    keep_alive: KeepAlive | None = Field(None, description=KEEP_ALIVE_WORDS)

    @model_validator(mode="before")
    @classmethod
    def _refuse_streams(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        if isinstance(data, dict) and data.get("stream") not in (None, False):
            raise refusal(param="stream", message="is not supported here: follow the job's events (`GET /v1/jobs/{id}/events`)")
        pages = data.get("pages") if isinstance(data, dict) else None
        if isinstance(pages, str) and not re.fullmatch(PAGES_PATTERN, pages):
            raise refusal(param="pages", message="must be numbers and ranges, counted from 1, such as 1-3,7,12-")
        return data


class OcrRequest(OcrFields):
    """Body of ``POST /v1/ocr`` that says what is to be read: one of `image`, `document` and `file_id`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in SOURCES]})

    image: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        None, description="A picture: a `data:` URI, or an address (http, https).", examples=["data:image/png;base64,iVBORw0KGgo="]
    )
    document: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        None, description="A PDF, a TIFF or a picture as a `data:` URI."
    )
    file_id: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = Field(
        None, description="An uploaded file (`POST /v1/files`)."
    )
