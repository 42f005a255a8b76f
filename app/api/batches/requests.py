"""The body of ``POST /v1/batches``, checked in OpenAI's own terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from app.api.webhooks.asking import AskedWebhook
from app.jobs.bodies import Body, Metadata, refuse_unsupported
from app.setting_values import parse_duration

__all__ = ["ENDPOINTS", "BatchEndpoint", "BatchRequest"]

BatchEndpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/ocr", "/v1/audio/transcriptions"]
ENDPOINTS: tuple[str, ...] = get_args(BatchEndpoint)

_UNSUPPORTED: Mapping[str, tuple[object, ...]] = {"output_expires_after": (None,)}
_WINDOW = r"^[0-9]{1,6}(\.[0-9]{1,3})?(s|m|h|d)$"
_LONGEST_S = 30 * 86400


class BatchRequest(Body):
    """A batch to be made of an uploaded file."""

    model_config = ConfigDict(
        json_schema_extra={
            "properties": {
                "output_expires_after": {"type": "null", "description": "Not supported: result files stay until they are deleted."}
            }
        }
    )

    input_file_id: Annotated[str, StringConstraints(min_length=1, max_length=100)] = Field(
        description="A file of requests, one a line, uploaded (`POST /v1/files`) with the purpose `batch`."
    )
    endpoint: BatchEndpoint = Field(description="Where each request would be sent; each line's `url` says the same.")
    completion_window: Annotated[str, StringConstraints(pattern=_WINDOW, max_length=12)] = Field(
        description="When the batch expires, from now: `24h`, or any other time up to 30 days.", examples=["24h"]
    )
    metadata: Metadata | None = None
    webhook: AskedWebhook | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        refuse_unsupported(data, _UNSUPPORTED)
        return data

    @field_validator("completion_window")
    @classmethod
    def _check_window(cls, window: str) -> str:
        if not 0 < parse_duration(window).total_seconds() <= _LONGEST_S:
            msg = "must be more than nothing and at most 30d"
            raise ValueError(msg)
        return window

    @property
    def lasts_s(self) -> float:
        """Seconds until it expires."""
        return parse_duration(self.completion_window).total_seconds()
