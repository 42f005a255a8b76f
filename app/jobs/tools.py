"""Tools that a model may call, and calls that it made, checked as OpenAI writes them."""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from app.jobs.bodies import Body, refusal

__all__ = ["CalledTool", "FunctionTool", "ToolChoice", "ToolName", "chosen_tools"]

_MOST_LEVELS: Final = 100  # templates write arguments by recursion
_BRACKETS: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|([\[{])|([\]}])', re.DOTALL)  # and the strings that may hold others

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
    arguments: str = Field("", description="A JSON object, as text. One that breaks off is shown to the model as it is.")

    @model_validator(mode="after")
    def _check_arguments(self) -> Self:
        if wrong := _wrong_with(self.arguments or "{}"):
            raise refusal(param="arguments", message=wrong)
        return self


def _wrong_with(arguments: str) -> str | None:
    """Return why *arguments* cannot be shown to a model. Those that ``max_tokens`` cut off can."""
    levels = (bool(bracket[1]) - bool(bracket[2]) for bracket in _BRACKETS.finditer(arguments))
    if max(accumulate(levels), default=0) > _MOST_LEVELS:
        return f"must not be nested deeper than {_MOST_LEVELS} levels"
    not_an_object = "must be a JSON object, as text"
    try:
        given = json.loads(arguments)
    except ValueError:
        return None if arguments.lstrip().startswith("{") else not_an_object
    try:
        json.dumps(given, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return "must have neither numbers that are not finite nor halves of characters"
    return None if isinstance(given, dict) else not_an_object


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
