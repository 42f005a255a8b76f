r"""Tool calls as Qwen3-Coder writes them. Their grammar, and reading what it let through.

    <function=NAME>
    <parameter=KEY>
    VALUE
    </parameter>
    </function>

A value is raw text where its schema wants a string and says no more of it, a bare
word where it lists words, and JSON everywhere else. Parameters come in the schema's
order. What tags cannot say (a schema that is more than a list of properties) stands
as one JSON object in their place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.structure.lark import ANYTHING, literal, regex, verbatim
from app.structure.schema_tree import DEFINITIONS, Path, Schema, at, target
from app.structure.schemas import json_rule, says
from app.structure.tool_syntax import Call, ToolSpec

__all__ = ["begun_tagged_call", "read_tagged_call", "tagged_call_rules"]

_VALUE_END = "\n</parameter>"
_TAGS = ("</parameter>", "</function>", "</tool_call>")
_BEGUN = re.compile(r"\s*<function=([^>\n]+)>(.*)\Z", re.DOTALL)
_FUNCTION = re.compile(r"\s*<function=([^>\n]+)>(.*)\n</function>\s*\Z", re.DOTALL)
_PARAMETER = re.compile(r"\n<parameter=([^>\n]+)>\n")
_KEY = re.compile(r"[^>\n]+")
_SIMPLE = frozenset({"type", "properties", "required", "additionalProperties"}) | DEFINITIONS
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class _Value:
    """How one parameter's value is written."""

    form: Literal["text", "words", "json"]
    nullable: bool = False  # null may stand there too, and means that
    words: tuple[str, ...] = ()


def tagged_call_rules(tools: Sequence[ToolSpec]) -> list[str]:
    """Return the rules of ``call``, what stands between the markers."""
    names = " | ".join(f"call_{number}" for number in range(len(tools)))
    rest = regex(f"{ANYTHING}({'|'.join(map(verbatim, _TAGS))})(?s:.+)")
    rules = [
        f"""call: "\\n<function=" ({names}) "\\n</function>\\n" """,
        f"VALUE_TEXT: {regex(ANYTHING + verbatim(_VALUE_END))} & ~{rest}",
        "value_text[lazy]: VALUE_TEXT",
    ]
    for number, tool in enumerate(tools):
        rules += _function_rules(f"call_{number}", tool)
    return rules


def read_tagged_call(text: str, tools: Sequence[ToolSpec]) -> Call:
    """Read what stands between the markers.

    Raises:
        ValueError: It is no whole call of one of *tools*.
    """
    function = _FUNCTION.match(text)
    tool = next((tool for tool in tools if function is not None and tool.name == function[1]), None)
    if function is None or tool is None:
        msg = "a call names one of the functions"
        raise ValueError(msg)
    schema = tool.schema
    if _properties(schema) is None:
        body = function[2].strip()
        if not isinstance(json.loads(body), dict):
            msg = "arguments are an object"
            raise ValueError(msg)
        return Call(tool.name, body)
    return Call(tool.name, _read_parameters(function[2], schema))


def begun_tagged_call(text: str, tools: Sequence[ToolSpec]) -> tuple[str, str] | None:
    """Return the name and as much of the arguments as has been written, as JSON; None where no parameter has begun."""
    begun = _BEGUN.match(text)
    tool = next((tool for tool in tools if begun is not None and tool.name == begun[1]), None)
    if begun is None or tool is None or _properties(tool.schema) is None:
        return None  # as one object the arguments come when they are whole
    written, rest = _parameters(begun[2], tool.schema)
    if rest is not None:
        written = [*written, rest]
    return (tool.name, "{" + ", ".join(written)) if written else None


def _function_rules(rule: str, tool: ToolSpec) -> list[str]:
    schema = tool.schema
    properties = _properties(schema)
    if properties is None:
        return [f"{rule}: {literal(f'{tool.name}>' + chr(10))} {rule}_json", f"{rule}_json: {json_rule(schema)}"]
    required = schema.get("required") or []
    parts, rules = [], []
    for number, (name, path) in enumerate(properties.items()):
        part = f"{rule}_{number}"
        parts.append(part if name in required else f"{part}?")
        rules.append(f"{part}: {literal(f'{chr(10)}<parameter={name}>{chr(10)}')} {part}_value")
        rules.append(f"{part}_value: {_value_rule(schema, path, part)}")
        if _value(schema, path).form == "json":
            rules.append(f"{part}_json: {json_rule(schema, path)}")
    return [f"{rule}: {' '.join([literal(f'{tool.name}>'), *parts])}", *rules]


def _value_rule(schema: Schema, path: Path, part: str) -> str:
    value = _value(schema, path)
    end = literal(_VALUE_END)
    if value.form == "text":
        return "value_text"  # null is one of the texts
    if value.form == "words":
        words = [*value.words, *(["null"] if value.nullable else [])]
        return " | ".join(f"{literal(word + _VALUE_END)}" for word in words)
    return f"{part}_json {end}"


def _properties(schema: Schema) -> dict[str, Path] | None:
    """Return where the schema of each parameter stands; None where tags cannot say what *schema* asks for."""
    properties, required = schema.get("properties") or {}, schema.get("required") or []
    others = schema.get("additionalProperties", True)
    simple = all(keyword in _SIMPLE or not says(keyword) for keyword in schema)
    named: dict[str, Path] = {name: ("properties", name) for name, inner in properties.items() if inner is not False}
    if not simple or not (named or others is False) or not set(required) <= named.keys():
        return None
    return named if all(_KEY.fullmatch(name) for name in named) else None


def _value(schema: Schema, path: Path) -> _Value:
    node = _resolved(schema, at(schema, path))
    if "anyOf" in node and len(node) == 1:
        inner = [_resolved(schema, one) for one in node["anyOf"]]
        others = [one for one in inner if one != {"type": "null"}]
        value = _of_node(others[0]) if len(others) == 1 else _Value("json")
        nullable = value.nullable or len(others) < len(inner)
        return _Value("json") if nullable and "null" in value.words else _Value(value.form, nullable, value.words)
    return _of_node(node)


def _of_node(node: Schema) -> _Value:
    if node == {"type": "string"}:
        return _Value("text")
    if node.keys() == {"type"} and isinstance(node["type"], list) and set(node["type"]) == {"string", "null"}:
        return _Value("text", nullable=True)
    listed = [node["const"]] if "const" in node else node.get("enum")
    types = node.get("type", "string")
    if not isinstance(listed, list) or node.keys() - {"const", "enum", "type"} or types not in ("string", ["string", "null"]):
        return _Value("json")
    words = tuple(word for word in listed if isinstance(word, str) and not any(tag in word for tag in _TAGS))
    nulls = [word for word in listed if word is None]
    whole = len(words) + len(nulls) == len(listed) and not (nulls and ("null" in words or (types == "string" and "type" in node)))
    return _Value("words", bool(nulls), words) if words and whole else _Value("json")


def _resolved(schema: Schema, node: object) -> dict[str, Any]:
    """Return *node* without what only describes, what it refers to in its place; empty for what is no schema of its own."""
    for _ in range(len(schema) + 100):
        if not isinstance(node, Mapping):
            return {}
        plain = {keyword: value for keyword, value in node.items() if says(keyword)}
        place = target(plain["$ref"]) if isinstance(plain.get("$ref"), str) and len(plain) == 1 else None
        if place is None:
            return plain
        node = at(schema, place)
    return {}


def _read_parameters(body: str, schema: Schema) -> str:
    written: list[str] = []
    place = 0
    while place < len(body):
        member, place = _member(body, place, schema)
        written.append(member)
    return "{" + ", ".join(written) + "}"


def _parameters(body: str, schema: Schema) -> tuple[list[str], str | None]:
    """Return the members of the arguments that are whole, and what has come of the next one, where that is text that can only grow."""
    written: list[str] = []
    place = 0
    while place < len(body):
        try:
            member, place = _member(body, place, schema)
        except ValueError:
            return written, _begun_text(body, place, schema)
        written.append(member)
    return written, None


def _member(body: str, place: int, schema: Schema) -> tuple[str, int]:
    """Return the parameter at *place* as a member of a JSON object, and where the next one begins.

    Raises:
        ValueError: There is no whole one.
    """
    properties = _properties(schema) or {}
    begin = _PARAMETER.match(body, place)
    if begin is None or begin[1] not in properties:
        msg = "a function's body is parameters that it has"
        raise ValueError(msg)
    value = _value(schema, properties[begin[1]])
    if value.form == "json":
        _, end = _DECODER.raw_decode(body, begin.end())
        shown = body[begin.end() : end]
    else:
        end = body.index(_VALUE_END, begin.end())
        said = body[begin.end() : end]
        shown = json.dumps(None if value.nullable and said == "null" else said, ensure_ascii=False)
    if not body.startswith(_VALUE_END, end):
        msg = "a parameter ends after its value"
        raise ValueError(msg)
    return f"{json.dumps(begin[1])}: {shown}", end + len(_VALUE_END)


def _begun_text(body: str, place: int, schema: Schema) -> str | None:
    properties = _properties(schema) or {}
    begin = _PARAMETER.match(body, place)
    if begin is None or begin[1] not in properties:
        return None
    value = _value(schema, properties[begin[1]])
    if value.form != "text" or value.nullable:
        return None
    said = body[begin.end() :]
    held = next((size for size in range(len(_VALUE_END), 0, -1) if said.endswith(_VALUE_END[:size])), 0)
    return f"{json.dumps(begin[1])}: {json.dumps(said[: len(said) - held], ensure_ascii=False)[:-1]}"
