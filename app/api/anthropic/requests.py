"""Anthropic's request bodies, checked before they are translated, so that errors name what the caller wrote.

What Anthropic knows and this version cannot honour is refused by name, as with
OpenAI's bodies; what only tunes Anthropic's own service is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, StringConstraints, model_validator

from app.api.anthropic.blocks import AssistantBlock, TextBlock, UserBlock, refuse_other_kinds
from app.jobs.bodies import MAX_TOKENS, Body, ModelName, refusal, refuse_unsupported
from app.jobs.tools import ToolName

__all__ = [
    "AssistantTurn",
    "CountTokensRequest",
    "JsonSchemaFormat",
    "MessagesRequest",
    "SystemTurn",
    "ThinkingAdaptive",
    "ThinkingEnabled",
    "ToolChoiceOf",
    "Turn",
    "UserTurn",
]

# field -> values that ask for nothing
_UNSUPPORTED: Final[Mapping[str, tuple[object, ...]]] = {"mcp_servers": (None, []), "container": (None,)}

Display = Literal["summarized", "omitted"]


class SystemTurn(Body):
    """An instruction within the conversation. Few templates have one there, so it is shown in the user's turn."""

    role: Literal["system"]
    content: str | list[TextBlock]

    @model_validator(mode="before")
    @classmethod
    def _refuse_other_blocks(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        return refuse_other_kinds(data, "content", ("text",), may="a turn of the system")


class UserTurn(Body):
    """A turn of the user, or of the tools that the user runs."""

    role: Literal["user"]
    content: str | list[UserBlock]

    @model_validator(mode="before")
    @classmethod
    def _refuse_other_blocks(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        return refuse_other_kinds(data, "content", ("text", "image", "document", "search_result", "tool_result"), may="a turn of the user")


class AssistantTurn(Body):
    """An earlier answer."""

    role: Literal["assistant"]
    content: str | list[AssistantBlock]

    @model_validator(mode="before")
    @classmethod
    def _refuse_other_blocks(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        return refuse_other_kinds(data, "content", ("text", "thinking", "redacted_thinking", "tool_use"), may="a turn of the assistant")


Turn = Annotated[UserTurn | AssistantTurn | SystemTurn, Field(discriminator="role")]


class CustomTool(Body):
    """A tool of the caller's."""

    type: Literal["custom"] | None = None
    name: ToolName
    description: str | None = None
    input_schema: dict[str, JsonValue] = Field(description="A JSON schema of an object.")
    strict: bool | None = Field(None, description="Refuse a schema that cannot be enforced. One that can be is enforced in any case.")

    @model_validator(mode="before")
    @classmethod
    def _refuse_anthropics(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        if isinstance(data, dict) and isinstance(kind := data.get("type"), str) and kind != "custom":
            message = f"is {kind[:40]!r}, a tool of Anthropic's, which models here do not have; describe one of your own with input_schema"
            raise refusal(param="type", message=message)
        return data


class _ToolChoice(Body):
    disable_parallel_tool_use: bool | None = Field(None, description="true: at most one call in an answer.")


class ToolChoiceFree(_ToolChoice):
    """Any of the tools, or none; or one at least."""

    type: Literal["auto", "any"]


class ToolChoiceOf(_ToolChoice):
    """This tool."""

    type: Literal["tool"]
    name: ToolName


class ToolChoiceNone(Body):
    """No tool."""

    type: Literal["none"]


ToolChoice = Annotated[ToolChoiceFree | ToolChoiceOf | ToolChoiceNone, Field(discriminator="type")]


class ThinkingEnabled(Body):
    """Think so many tokens at most."""

    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)]
    display: Display | None = None


class ThinkingAdaptive(Body):
    """Think as much as the model likes, within the effort."""

    type: Literal["adaptive"]
    display: Display | None = None


class ThinkingDisabled(Body):
    """Do not think."""

    type: Literal["disabled"]


class JsonSchemaFormat(Body):
    """What the answer must be."""

    type: Literal["json_schema"]
    json_schema: dict[str, JsonValue] = Field(alias="schema")


class OutputConfig(Body):
    """How the answer is to be."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = Field(None, description="Bounds adaptive thinking.")
    format: JsonSchemaFormat | None = None


class Metadata(Body):
    """Whom the request is for."""

    user_id: str | None = None


def _describe_unsupported(schema: dict[str, Any]) -> None:
    for name, harmless in _UNSUPPORTED.items():
        schema["properties"][name] = {"enum": list(harmless), "description": "Not supported by this version."}


class CountTokensRequest(Body):
    """Body of ``POST /v1/messages/count_tokens``: all that makes the prompt."""

    model_config = ConfigDict(json_schema_extra=_describe_unsupported)

    model: ModelName | None = Field(None, description="None: the role `chat`.", examples=["chat"])
    messages: Annotated[list[Turn], Field(min_length=1)]
    system: str | list[TextBlock] | None = None
    tools: list[CustomTool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Annotated[ThinkingEnabled | ThinkingAdaptive | ThinkingDisabled, Field(discriminator="type")] | None = None
    output_config: OutputConfig | None = None
    output_format: JsonSchemaFormat | None = Field(None, description="The older place of output_config.format.")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        refuse_unsupported(data, _UNSUPPORTED)
        return refuse_other_kinds(data, "system", ("text",), may="a system prompt")

    @model_validator(mode="after")
    def _refuse_prefill(self) -> Self:
        if isinstance(self.messages[-1], AssistantTurn):
            last = len(self.messages) - 1
            raise refusal(
                param=f"messages.{last}.role", message="is 'assistant': an answer is not gone on with; end with a turn of the user"
            )
        return self

    @property
    def format(self) -> JsonSchemaFormat | None:
        """What the answer must be, wherever that is said."""
        return (self.output_config.format if self.output_config else None) or self.output_format

    @property
    def shows_thinking(self) -> bool:
        """Whether the caller wants to read what was thought."""
        return getattr(self.thinking, "display", None) != "omitted"


class MessagesRequest(CountTokensRequest):
    """Body of ``POST /v1/messages``."""

    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)]
    stop_sequences: Annotated[list[Annotated[str, StringConstraints(min_length=1)]], Field(max_length=16)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=MAX_TOKENS)] | None = None
    metadata: Metadata | None = None
    stream: bool | None = None
    service_tier: Literal["auto", "standard_only", "flex"] | None = Field(
        None, description="flex, which is not Anthropic's: behind all that somebody waits for."
    )
