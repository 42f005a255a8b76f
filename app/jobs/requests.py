"""OpenAI's request bodies, checked. What the API accepts is what the worker can rely on.

A field that OpenAI knows and this version cannot honour is refused by name
rather than ignored; fields nobody knows are let through and ignored, as
OpenAI's own clients send them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from app.settings import parse_duration

__all__ = [
    "KEEP_ALIVE_WORDS",
    "Body",
    "ChatMessage",
    "ChatRequest",
    "CompletionRequest",
    "DownloadRequest",
    "EmbeddingRequest",
    "ImagePart",
    "ImageUrl",
    "KeepAlive",
    "LoadRequest",
    "ModelName",
    "Seed",
    "StreamOptions",
    "TextPart",
    "keep_seconds",
    "prompts_of",
    "refusal",
]

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]

# Whole numbers end up in arrays of 32 or 64 bits: a larger one is the caller's mistake, not ours to find later.
_MAX_TOKENS = 2**31 - 1
TokenId = Annotated[int, Field(ge=0, le=_MAX_TOKENS)]
BiasedToken = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,10}$")]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]

FOR_EVER = -1.0
"""A ``keep_alive`` without an end."""


def _read_keep_alive(value: object) -> float:
    return FOR_EVER if value in (-1, "-1") else parse_duration(value).total_seconds()


KeepAlive = Annotated[
    float,
    BeforeValidator(_read_keep_alive),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": -1},
                {"type": "number", "minimum": 0, "maximum": 10 * 365 * 86400},
                {"type": "string", "pattern": r"^(-1|[0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h|d)?)$", "examples": ["10m"]},
            ]
        }
    ),
]
KEEP_ALIVE_WORDS = "How long the model stays in memory after this: seconds or `10m`; 0: it leaves when nothing uses it; -1: it stays."

_MOST_CHOICES = 128  # of one completion: prompts times n

_LATER_PARTS = {"input_audio": "audio", "file": "a file", "video_url": "a video"}
_MOST_PICTURES = 100


class Body(BaseModel):
    """What every body has in common."""

    # protected_namespaces: OpenAI's field is called "model".
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


def refusal(*, param: str, message: str) -> PydanticCustomError:
    """Return the error for what OpenAI knows and this version cannot do."""
    kind = "unsupported_parameter"
    return PydanticCustomError(kind, "{reason}", {"param": param, "reason": message})


class TextPart(Body):
    """One text part of a message."""

    type: Literal["text"]
    text: str


class ImageUrl(Body):
    """Where a picture is."""

    url: Annotated[str, StringConstraints(min_length=1)] = Field(
        description="A data URI (`data:image/png;base64,…`), or an http or https address.", examples=["data:image/png;base64,iVBORw0KGgo="]
    )
    detail: Literal["auto", "low", "high"] | None = Field(None, description="low: a version of at most 512 x 512 pixels is looked at.")


class ImagePart(Body):
    """One picture of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl

    @model_validator(mode="before")
    @classmethod
    def _read_short_form(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        """Some clients send the address alone."""
        if isinstance(data, dict) and isinstance(data.get("image_url"), str):
            return {**data, "image_url": {"url": data["image_url"]}}
        return data


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ChatMessage(Body):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_tools(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        if isinstance(data, dict):
            if data.get("role") in ("tool", "function"):
                raise refusal(
                    param="role", message=f"{data['role']!r} is for tools, which this version does not support; leave such messages out"
                )
            for name in ("tool_calls", "function_call"):
                if data.get(name):
                    raise refusal(param=name, message="is not supported by this version; leave it out")
            _refuse_other_media(data.get("content"))
        return data

    @model_validator(mode="after")
    def _check_pictures(self) -> Self:
        if self.pictures and self.role != "user":
            raise refusal(param="content", message=f"may have no pictures in a turn of the role {self.role!r}; they belong into the user's")
        return self

    @property
    def pictures(self) -> int:
        """How many pictures the turn shows."""
        return 0 if isinstance(self.content, str) else sum(part.type == "image_url" for part in self.content)


def _refuse_other_media(content: object) -> None:
    for number, part in enumerate(content if isinstance(content, list) else ()):
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and (what := _LATER_PARTS.get(kind)):
            message = f"is {what}, which this version does not take; it must be 'text' or 'image_url'"
            raise refusal(param=f"content.{number}.type", message=message)


class StreamOptions(Body):
    """Options of a streamed answer."""

    include_usage: bool = False
    include_obfuscation: bool = Field(
        default=False, description="Pad events to even sizes. OpenAI's default is true; here nobody pays unless asked."
    )


class _Generation(Body):
    """What every request for text may say, whatever its prompt is made of."""

    # field -> values that ask for nothing
    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {}

    model: ModelName | None = Field(None, examples=["chat"])
    max_tokens: Annotated[int, Field(ge=1, le=_MAX_TOKENS)] | None = None
    n: Annotated[int, Field(ge=1, le=16)] | None = Field(None, description="Answers to each prompt; each is drawn by itself.")
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=_MAX_TOKENS)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    stop: str | Annotated[list[Annotated[str, StringConstraints(min_length=1)]], Field(max_length=16)] | None = None
    logit_bias: Annotated[dict[BiasedToken, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=1024)] | None = Field(
        None, description="Token id to what is added to its logit."
    )
    seed: Seed | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    user: str | None = None
    keep_alive: KeepAlive | None = Field(None, description=KEEP_ALIVE_WORDS)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe also what is refused."""
        schema = handler(core_schema)
        fields = handler.resolve_ref_schema(schema)["properties"]
        for name, harmless in cls.unsupported.items():
            fields[name] = {"enum": list(harmless), "description": "Not supported by this version."}
        return schema

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        if isinstance(data, dict):
            for name, harmless in cls.unsupported.items():
                if name in data and data[name] not in harmless:
                    raise refusal(param=name, message="is not supported by this version; leave it out")
        return data


class ChatRequest(_Generation):
    """Body of ``POST /v1/chat/completions``."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "tools": (None, []),
        "functions": (None, []),
        "response_format": (None, {"type": "text"}),
        "audio": (None,),
        "modalities": (None, ["text"]),
    }

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=_MAX_TOKENS)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    chat_template_kwargs: dict[str, JsonValue] | None = None

    @model_validator(mode="after")
    def _check_logprobs(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise refusal(param="top_logprobs", message="needs logprobs to be true")
        if self.pictures > _MOST_PICTURES:
            raise refusal(param="messages", message=f"may show {_MOST_PICTURES} pictures at most, not {self.pictures}")
        return self

    @property
    def pictures(self) -> int:
        """How many pictures the conversation shows."""
        return sum(message.pictures for message in self.messages)


class CompletionRequest(_Generation):
    """Body of ``POST /v1/completions``: text to go on with, as it is, without a chat template."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {"suffix": (None, "")}

    prompt: (
        Annotated[str, StringConstraints(min_length=1)]
        | Annotated[list[Annotated[str, StringConstraints(min_length=1)]], Field(min_length=1, max_length=_MOST_CHOICES)]
        | Annotated[list[TokenId], Field(min_length=1)]
        | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1, max_length=_MOST_CHOICES)]
    )
    best_of: Annotated[int, Field(ge=1, le=16)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @model_validator(mode="after")
    def _check_choices(self) -> Self:
        n = self.n or 1
        if self.best_of not in {None, n}:
            raise refusal(param="best_of", message="must equal n: every answer that is drawn is returned")
        if len(prompts_of(self.prompt)) * n > _MOST_CHOICES:
            raise refusal(param="n", message=f"times the number of prompts must be at most {_MOST_CHOICES}")
        if self.echo and self.logprobs is not None:
            raise refusal(param="logprobs", message="cannot be had with echo: those of a prompt are not computed")
        return self


def prompts_of(value: Any) -> list[str | list[int]]:  # noqa: ANN401 - one of four shapes, checked above
    """Return the prompts of a completion one by one: a text, several, one as token ids, or several."""
    return [value] if isinstance(value, str) or isinstance(value[0], int) else list(value)


class EmbeddingRequest(Body):
    """Body of ``POST /v1/embeddings``."""

    model: ModelName | None = Field(None, examples=["embedding"])
    input: (
        Annotated[str, StringConstraints(min_length=1)]
        | Annotated[list[Annotated[str, StringConstraints(min_length=1)]], Field(min_length=1, max_length=2048)]
        | Annotated[list[TokenId], Field(min_length=1)]
        | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1, max_length=2048)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=_MAX_TOKENS)] | None = None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, le=_MAX_TOKENS)] | None = Field(
        None, description="Cut longer inputs to this many tokens, -1: to the model's context. Unset: a longer input is an error."
    )
    user: str | None = None
    keep_alive: KeepAlive | None = Field(None, description=KEEP_ALIVE_WORDS)


class DownloadRequest(Body):
    """What a job of kind ``download`` is asked for."""

    model: ModelName = Field(description="Any name of the catalog, or the name of a repository on the hub.")


class LoadRequest(Body):
    """What may be said of a model that is to be in memory."""

    keep_alive: KeepAlive | None = Field(
        None, description="For how long nothing else takes its memory: seconds or `10m`; -1: until it is unloaded."
    )


def keep_seconds(keep_alive: float | None) -> float | None:
    """Return a checked ``keep_alive`` in seconds, infinite where it has no end; None where nothing was said."""
    return math.inf if keep_alive == FOR_EVER else keep_alive
