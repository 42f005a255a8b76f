"""The body of ``POST /v1/responses``, checked in OpenAI's own terms; what it cannot have here is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from app.api.responses.items import InputItem
from app.api.responses.tools import Hosted, Tool, ToolChoice
from app.jobs.bodies import MAX_TOKENS, Body, Metadata, ModelName, refusal, refuse_unsupported

__all__ = ["SHARED", "ResponseRequest", "ResponseTokensRequest"]

_UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "conversation": (None,),
    "prompt": (None,),
    "context_management": (None, []),
    "moderation": (None,),
    "truncation": (None, "disabled"),
}

SHARED = (
    *("top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "stop", "logit_bias", "seed"),
    *("keep_alive", "enable_thinking", "thinking_budget", "chat_template_kwargs"),
)
"""Fields of a chat that OpenAI's responses do not have and ours take, under the same names."""


def _describe_refused(schema: dict[str, Any]) -> None:
    for name, harmless in _UNSUPPORTED.items():
        schema["properties"][name] = {"enum": list(harmless), "description": "Not supported by this version."}


class TextFormat(Body):
    """What the answer is to look like."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema_: dict[str, JsonValue] | None = Field(None, alias="schema")
    strict: bool | None = None

    @model_validator(mode="after")
    def _check_schema(self) -> Self:
        if self.type == "json_schema" and self.schema_ is None:
            raise refusal(param="schema", message="is required with the type json_schema")
        return self


class TextOptions(Body):
    """How the answer is to be written."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = Field(None, description="A wish; models here know no such thing.")


class ReasoningOptions(Body):
    """How much is to be thought."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed", "none"] | None = Field(
        None, description="None are made; what was thought comes as it is, as reasoning_text."
    )


class ResponseStreamOptions(Body):
    """Options of a streamed response."""

    include_obfuscation: bool = Field(
        default=False, description="Pad events to even sizes. OpenAI's default is true; here nobody pays unless asked."
    )


class ResponseTokensRequest(Body):
    """What a response is made of."""

    model_config = ConfigDict(json_schema_extra=_describe_refused)

    model: ModelName | None = Field(None, examples=["chat"])
    input: str | list[InputItem] | None = None
    instructions: str | None = Field(None, description="Goes before everything; not carried over from the previous response.")
    previous_response_id: str | None = Field(None, description="A stored response that this one goes on from.")
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        refuse_unsupported(data, _UNSUPPORTED)
        return data

    @model_validator(mode="after")
    def _check_tools(self) -> Self:
        if self.tools and all(isinstance(tool, Hosted) for tool in self.tools):
            message = f"has only what this server cannot run: {', '.join(tool.type for tool in self.tools)}; offer functions of your own"
            raise refusal(param="tools", message=message)
        return self


class ResponseRequest(ResponseTokensRequest):
    """Body of ``POST /v1/responses``. It may also have what only our chats take, such as ``seed`` and ``top_k``."""

    max_output_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: list[str] | None = Field(
        None, description="`message.output_text.logprobs` asks for likelihoods. Others concern what is never left out here, or never there."
    )
    store: bool | None = Field(None, description="false: the response cannot be had again, nor gone on from.")
    background: bool | None = Field(None, description="Answer at once and go on without its caller, as a job of the lane batch.")
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @model_validator(mode="after")
    def _check_background(self) -> Self:
        if self.background and self.store is False:
            raise refusal(param="store", message="must not be false with background: nobody could fetch the response")
        return self

    @property
    def wants_logprobs(self) -> bool:
        """Whether the answer says how likely its tokens were."""
        return bool(self.top_logprobs) or "message.output_text.logprobs" in (self.include or ())
