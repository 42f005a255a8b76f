"""Tools of a response, as its caller knows them and as the chat has them. Pure.

The chat has functions alone. So a custom tool becomes a function that takes
one text, and a namespace's tools become functions with longer names; calls are
told in the caller's terms again. Tools that OpenAI runs itself nobody runs
here: clients that offer them beside their own, whatever server they talk to,
go without, and are told; where there is nothing else, or it is more than an
offer, they are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Discriminator, Field, JsonValue, Tag
from pydantic_core import from_json

from app.api.responses.kinds import refuse_kind, refuse_kinds
from app.jobs.bodies import Body

__all__ = ["Offered", "Tool", "ToolChoice", "chat_choice", "chat_name", "chat_tools", "input_of", "left_out", "offered_by", "shown_tools"]

_UNASKED = frozenset({"web_search", "web_search_preview", "image_generation"})
"""What coding agents offer to whatever model they talk to."""

_INPUT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"], "additionalProperties": False}


_OWN = frozenset({"function", "custom", "namespace"})


def _check_tool(data: object) -> object:
    told = "is {kind}, which this server cannot run; it may be 'function', 'custom' or 'namespace'"
    return refuse_kind(data, lambda kind: kind in _OWN or _family(kind) in _UNASKED, told)


def _check_named(data: object) -> object:
    return refuse_kinds(data, ("function", "custom"))


def _check_choice(data: object) -> object:
    return refuse_kinds(data, ("function", "custom", "allowed_tools"))


def _family(kind: str) -> str:
    """Return a tool's type without the date of its version."""
    return next((name for name in _UNASKED if kind == name or kind.startswith(f"{name}_20")), kind)


class Function(Body):
    """A function that the model may call."""

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, JsonValue] | None = Field(None, description="A JSON schema of an object; none: it takes nothing.")
    strict: bool | None = None


class CustomFormat(Body):
    """What a custom tool's text is to look like."""

    type: Literal["text", "grammar"]
    syntax: str | None = None
    definition: str | None = Field(None, description="A grammar: told to the model, and not enforced.")


class Custom(Body):
    """A tool that takes a text."""

    type: Literal["custom"]
    name: str
    description: str | None = None
    format: CustomFormat | None = None


NamedTool = Annotated[Function | Custom, Field(discriminator="type"), BeforeValidator(_check_named)]


class Namespace(Body):
    """Tools that belong together."""

    type: Literal["namespace"]
    name: str
    description: str | None = None
    tools: list[NamedTool]


class Hosted(Body):
    """A tool that OpenAI runs. It is left out here, which the header X-Tools-Left-Out says."""

    type: str


def _kind_of(data: Any) -> str:  # noqa: ANN401 - a dict, or a tool
    kind = data.get("type") if isinstance(data, dict) else getattr(data, "type", None)
    return kind if isinstance(kind, str) and kind in _OWN else "hosted"


Tool = Annotated[
    Annotated[Function, Tag("function")]
    | Annotated[Custom, Tag("custom")]
    | Annotated[Namespace, Tag("namespace")]
    | Annotated[Hosted, Tag("hosted")],
    Discriminator(_kind_of),
    BeforeValidator(_check_tool),
]


class ChosenTool(Body):
    """The one tool that must be called."""

    type: Literal["function", "custom"]
    name: str


class AllowedTools(Body):
    """A choice among some of the tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[ChosenTool], Field(min_length=1)]


ToolChoice = Annotated[
    Literal["none", "auto", "required"] | Annotated[ChosenTool | AllowedTools, Field(discriminator="type")],
    BeforeValidator(_check_choice),
]


class Offered(NamedTuple):
    """A tool as its caller names it."""

    kind: str
    name: str
    namespace: str | None = None


def chat_name(name: str, namespace: str | None = None) -> str:
    """Return what the chat calls a tool."""
    return name if not namespace else f"{namespace.removesuffix('__')}__{name}"


def left_out(tools: Sequence[Body]) -> tuple[str, ...]:
    """Return the tools that nobody runs here."""
    return tuple(dict.fromkeys(tool.type for tool in tools if isinstance(tool, Hosted)))


def chat_tools(tools: Sequence[Body]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the chat's tools, and of each where it stands among the caller's."""
    made, origins = [], []
    for place, tool in enumerate(tools):
        for number, one in enumerate(tool.tools if isinstance(tool, Namespace) else [tool]):
            if isinstance(one, Function | Custom):
                made.append(_function(one, tool.name if isinstance(tool, Namespace) else None))
                origins.append(f"tools.{place}.tools.{number}" if isinstance(tool, Namespace) else f"tools.{place}")
    return made, origins


def _function(tool: Function | Custom, namespace: str | None) -> dict[str, Any]:
    function: dict[str, Any] = {"name": chat_name(tool.name, namespace)}
    if isinstance(tool, Custom):
        return {"type": "function", "function": {**function, "description": _instructions(tool), "parameters": _INPUT}}
    facts = tool.model_dump(mode="json", include={"description", "parameters", "strict"}, exclude_unset=True)
    return {"type": "function", "function": function | facts}


def _instructions(tool: Custom) -> str:
    form = tool.format
    if form is None or not form.definition:
        return tool.description or ""
    return f"{tool.description or ''}\n\n`input` must match this grammar ({form.syntax or 'lark'}):\n{form.definition}".strip()


def chat_choice(choice: object, tools: Sequence[Body]) -> object:
    """Return the chat's ``tool_choice``, which is one of *tools*. Those of a namespace may be named without it where that tells them."""
    if isinstance(choice, AllowedTools):
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": [_named(tool, tools) for tool in choice.tools]}}
    return _named(choice, tools) if isinstance(choice, ChosenTool) else choice


def _named(chosen: ChosenTool, tools: Sequence[Body]) -> dict[str, Any]:
    alone = {tool.name for tool in tools if isinstance(tool, Function | Custom)}
    spaces = [tool for tool in tools if isinstance(tool, Namespace)]
    within = [chat_name(one.name, space.name) for space in spaces for one in space.tools if one.name == chosen.name]
    name = within[0] if len(within) == 1 and chosen.name not in alone else chosen.name
    return {"type": "function", "function": {"name": name}}


def offered_by(tools: Sequence[Mapping[str, Any]]) -> dict[str, Offered]:
    """Return each tool by the chat's name for it.

    Args:
        tools: As :func:`shown_tools` has them.
    """
    found = {}
    for tool in tools:
        namespace = tool["name"] if tool["type"] == "namespace" else None
        for one in tool["tools"] if namespace else [tool]:
            found[chat_name(one["name"], namespace)] = Offered(one["type"], one["name"], namespace)
    return found


def shown_tools(request: Mapping[str, Any], notes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tools of a past request as its caller sent them: noted where the chat's say less, else made of those."""
    if "tools" in notes:
        return list(notes["tools"])
    return [{"type": "function", "parameters": None, "strict": None, **tool["function"]} for tool in request.get("tools") or ()]


def input_of(arguments: str) -> str:
    """Return the text that a custom tool is called with; of a call that broke off, what there is of it."""
    try:
        given = from_json(arguments, allow_partial="trailing-strings")
    except ValueError:
        return arguments
    return str(given.get("input", "")) if isinstance(given, dict) else arguments
