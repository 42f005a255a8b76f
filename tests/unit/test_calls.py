"""Calls of tools: what the grammar lets through is read back as arguments that keep to the tool's schema, whoever wrote it."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest

from app.errors import InvalidRequest
from app.structure.answer import AnswerShape, ToolSpec, ToolSyntax, read_call
from tests.grammars import END, accepts, drawn
from tests.schemas import random_schema

FORMS = ("json", "qwen3_coder")
ROUNDS = 120


def required(form: Any, *tools: ToolSpec) -> AnswerShape:  # noqa: ANN401
    return AnswerShape(calls=ToolSyntax(form), tools=tools, choice="required", parallel=False)


def read(shape: AnswerShape, text: str) -> tuple[str, dict[str, Any]]:
    assert shape.calls is not None
    inside = text.strip().removeprefix(shape.calls.start).removesuffix(shape.calls.end)
    call = read_call(inside, shape.calls, shape.tools)
    return call.name, json.loads(call.arguments)


def tends_to_end(byte: int) -> float:
    return 5.0 if byte == END or byte in b'"}],<' else 0.3 if byte in b"\n\t\\ " else 1.0


def value_lines(schema: dict[str, Any], value: str) -> bool:
    tool = ToolSpec("f", {"properties": {"a": schema}, "required": ["a"]})
    text = f"<tool_call>\n<function=f>\n<parameter=a>\n{value}\n</parameter>\n</function>\n</tool_call>"
    return accepts(required("qwen3_coder", tool), text)


@pytest.mark.parametrize("form", FORMS)
def test_whatever_is_drawn_is_read_back_and_keeps_to_the_schema(form: str) -> None:
    read_back = 0
    for seed in range(ROUNDS):
        schema = random_schema(seed)
        schema.pop("maxProperties", None)
        # One parameter of raw text, where a model may write what it likes, tags and all but the closing one.
        schema["properties"]["said"] = {"type": "string", "description": "anything"}
        shape = required(form, ToolSpec("other", None), ToolSpec("it", schema, strict=True))
        text = drawn(shape, random.Random(seed), likes=tends_to_end)  # noqa: S311 - answers, no secrets
        if text is None:
            continue
        name, arguments = read(shape, text)
        jsonschema.validate(arguments, schema if name == "it" else {"maxProperties": 0})
        read_back += 1
    assert read_back > ROUNDS / 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object", "properties": {"a": {"type": "integer"}}, "patternProperties": {"^x": {"type": "boolean"}}},
        {"anyOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"properties": {"b": {"const": 2}}, "required": ["b"]}]},
        {
            "$ref": "#/$defs/T",
            "$defs": {"T": {"type": "object", "properties": {"a": {"$ref": "#/$defs/S"}}}, "S": {"type": "string", "maxLength": 3}},
        },
        {"properties": {"child": {"$ref": "#"}, "n": {"type": "integer", "maximum": 9, "minimum": 0}}, "additionalProperties": False},
        {"type": ["object", "null"], "properties": {"a>b": {"type": "boolean"}}, "required": ["a>b"], "additionalProperties": False},
        {"additionalProperties": {"type": "null"}, "maxProperties": 1},
        {"properties": {"a": True, "b": False}, "required": ["a"], "additionalProperties": False},
    ],
)
def test_schemas_that_are_more_than_a_list_of_properties_are_kept_too(form: str, parameters: dict[str, Any]) -> None:
    shape = required(form, ToolSpec("it", parameters))
    for seed in range(12):
        text = drawn(shape, random.Random(seed), likes=tends_to_end)  # noqa: S311
        if text is not None:
            jsonschema.validate(read(shape, text)[1], {"type": "object", **parameters})


def test_text_is_written_as_it_is_and_words_are_bare() -> None:
    text = {"type": "string", "title": "A", "default": ""}
    assert all(value_lines(text, value) for value in ("Bergen", "", "null", "\n\n", 'say "hi" <b> </a>', "<parameter=b>", "日本"))
    assert not value_lines(text, "a</parameter>b")
    words = {"type": "string", "enum": ["red", "light green"]}
    assert value_lines(words, "light green")
    assert not value_lines(words, '"red"')
    assert not value_lines(words, "green")
    maybe = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    shape = required("qwen3_coder", ToolSpec("f", {"properties": {"a": maybe, "b": words, "c": {"type": "number"}}}))
    call = "<tool_call>\n<function=f>\n<parameter=a>\n{}\n</parameter>\n<parameter=c>\n1e3\n</parameter>\n</function>\n</tool_call>"
    for written, meant in (("null", None), ("nil", "nil"), ("1", "1"), ('"x"', '"x"')):
        assert accepts(shape, call.format(written))
        assert read(shape, call.format(written)) == ("f", {"a": meant, "c": 1000.0})


def test_strings_with_bounds_and_all_else_are_json() -> None:
    for schema, value in (
        ({"type": "string", "maxLength": 3}, '"abc"'),
        ({"type": "integer"}, "-12"),
        ({"type": ["integer", "string"]}, '"12"'),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "null"),
        ({"type": "array", "items": {"type": "string"}}, '["</parameter>", "</tool_call>"]'),
        ({}, '{"a": [true]}'),
    ):
        assert value_lines(schema, value)
    assert not value_lines({"type": "string", "maxLength": 3}, "abc")
    assert not value_lines({"type": "integer"}, "twelve")


def test_an_end_marker_in_a_string_does_not_end_the_call() -> None:
    tool = ToolSpec("f", {"type": "object"})
    for form, text in (
        ("json", '\n{"name": "f", "arguments": {"a": "x</tool_call>"}}\n'),
        ("qwen3_coder", '\n<function=f>\n{"a": "x</tool_call>"}\n</function>\n'),
    ):
        syntax = ToolSyntax(form)  # type: ignore[arg-type]
        assert read_call(text, syntax, (tool,)).arguments == '{"a": "x</tool_call>"}'
        with pytest.raises(ValueError):  # noqa: PT011 - as it is documented
            read_call(text[: text.index("</tool_call>")], syntax, (tool,))


def test_a_tool_whose_schema_cannot_be_used_takes_any_object_unless_it_is_strict() -> None:
    impossible = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    shape = required("json", ToolSpec("f", impossible))
    assert accepts(shape, '<tool_call>\n{"name": "f", "arguments": {"b": 1}}\n</tool_call>')
    ToolSpec("f", impossible).check(param="tools.0")
    with pytest.raises(InvalidRequest) as refused:
        ToolSpec("f", impossible, strict=True).check(param="tools.0.function.parameters")
    assert refused.value.param == "tools.0.function.parameters.properties.a"
    with pytest.raises(InvalidRequest):
        ToolSpec("f", {"type": "string"}, strict=True).check(param="tools.0")
