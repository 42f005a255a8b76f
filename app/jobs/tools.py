"""Tools that a model may call, and calls that it made, checked as OpenAI writes them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from app.jobs.bodies import Body, refusal

__all__ = ["CalledTool", "FunctionTool", "ToolChoice", "ToolName", "chosen_tools"]

ToolName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_.:-]{1,128}$")]


class ToolFunction(Body):
    """What a tool is called, what it does, and what it takes."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, JsonValue] | None = Field(None, description="A JSON schema of an object; none: it takes nothing.")
    strict: bool | None = Field(None, description="Refuse a schema that cannot be enforced. One that can be is enforced in any case.")


class FunctionTool(Body):
    """A function that the model may call."""

    type: Literal["function"]
    function: ToolFunction

    @model_validator(mode="before")
    @classmethod
    def _refuse_other_kinds(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        if isinstance(data, dict) and isinstance(kind := data.get("type"), str) and kind != "function":
            raise refusal(param="type", message=f"is {kind!r}, which this version does not have; it must be 'function'")
        return data


class NamedFunction(Body):
    """A tool's name."""

    name: ToolName


class NamedTool(Body):
    """The one tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


class AllowedTools(Body):
    """Which of the tools may be called, and whether one must."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1)]


class AllowedChoice(Body):
    """A choice among some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ToolChoice = Literal["none", "auto", "required"] | Annotated[NamedTool | AllowedChoice, Field(discriminator="type")]


class CalledFunction(Body):
    """What a model called, and with what."""

    name: ToolName
    arguments: str = Field("", description="A JSON object, as text.")

    @model_validator(mode="after")
    def _check_arguments(self) -> Self:
        try:
            given = json.loads(self.arguments or "{}")
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise refusal(param="arguments", message="must be a JSON object, as text")
        return self


class CalledTool(Body):
    """A call that an earlier answer made."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    type: Literal["function"] = "function"
    function: CalledFunction


def chosen_tools(tools: list[FunctionTool], choice: ToolChoice | None) -> None:
    """Check that *choice* is one that *tools* allow.

    Raises:
        PydanticCustomError: It is not.
    """
    names = [tool.function.name for tool in tools]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise refusal(param="tools", message=f"has more than one function of the name {doubled!r}")
    if choice is None or choice in ("none", "auto"):
        return
    if not names:
        raise refusal(param="tool_choice", message="needs tools: there are none to choose from")
    wanted = [choice] if isinstance(choice, NamedTool) else choice.allowed_tools.tools if isinstance(choice, AllowedChoice) else []
    if strange := next((one.function.name for one in wanted if one.function.name not in names), None):
        raise refusal(param="tool_choice", message=f"names {strange!r}, which is none of the tools: {', '.join(names)}")
