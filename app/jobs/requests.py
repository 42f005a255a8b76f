"""OpenAI's request bodies, checked. What the API accepts is what the worker can rely on.

A field that OpenAI knows and this version cannot honour is refused by name
rather than ignored; fields nobody knows are let through and ignored, as
OpenAI's own clients send them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

__all__ = ["ChatMessage", "ChatRequest", "EmbeddingRequest", "StreamOptions", "TextPart"]

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]

# Whole numbers end up in arrays of 32 or 64 bits: a larger one is the caller's mistake, not ours to find later.
_MAX_TOKENS = 2**31 - 1
TokenId = Annotated[int, Field(ge=0, le=_MAX_TOKENS)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]

_UNSUPPORTED_CHAT = {
    # field -> values that ask for nothing
    "tools": (None, []),
    "functions": (None, []),
    "response_format": (None, {"type": "text"}),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "logit_bias": (None, {}),
    "n": (None, 1),
    "audio": (None,),
    "modalities": (None, ["text"]),
}

_LATER_PARTS = {"image_url": "a picture", "input_audio": "audio", "file": "a file"}


class _Body(BaseModel):
    # protected_namespaces: OpenAI's field is called "model".
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


def _unsupported(*, param: str, message: str) -> PydanticCustomError:
    """Return the error for what OpenAI knows and this version cannot do."""
    kind = "unsupported_parameter"
    return PydanticCustomError(kind, "{reason}", {"param": param, "reason": message})


class TextPart(_Body):
    """One text part of a message."""

    type: Literal["text"]
    text: str

    @model_validator(mode="before")
    @classmethod
    def _refuse_other_media(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        if isinstance(data, dict) and isinstance(data.get("type"), str) and (what := _LATER_PARTS.get(data["type"])):
            raise _unsupported(param="type", message=f"is {what}, which this version does not take; it must be 'text'")
        return data


class ChatMessage(_Body):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_tools(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        if isinstance(data, dict):
            if data.get("role") in ("tool", "function"):
                raise _unsupported(
                    param="role", message=f"{data['role']!r} is for tools, which this version does not support; leave such messages out"
                )
            for name in ("tool_calls", "function_call"):
                if data.get(name):
                    raise _unsupported(param=name, message="is not supported by this version; leave it out")
        return data

    @property
    def text(self) -> str:
        """The turn's whole text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(_Body):
    """Options of a streamed answer."""

    include_usage: bool = False


class ChatRequest(_Body):
    """Body of ``POST /v1/chat/completions``."""

    model: ModelName | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1, le=_MAX_TOKENS)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=_MAX_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=_MAX_TOKENS)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    stop: str | Annotated[list[Annotated[str, StringConstraints(min_length=1)]], Field(max_length=16)] | None = None
    seed: Seed | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    chat_template_kwargs: dict[str, JsonValue] | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    user: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        if isinstance(data, dict):
            for name, harmless in _UNSUPPORTED_CHAT.items():
                if name in data and data[name] not in harmless:
                    raise _unsupported(param=name, message="is not supported by this version; leave it out")
        return data


class EmbeddingRequest(_Body):
    """Body of ``POST /v1/embeddings``."""

    model: ModelName | None = None
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
