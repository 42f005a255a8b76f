"""Schemas that answers can be held to, and what is said of those they cannot."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import jsonschema
import pytest

from app.errors import InvalidRequest
from app.structure.answer import AnswerShape
from app.structure.patterns import narrowed
from app.structure.schemas import check_schema
from tests.grammars import END, accepts, drawn
from tests.schemas import random_schema

NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "value": {"type": "strin"}}}


def refusal(schema: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(InvalidRequest) as refused:
        check_schema(schema, param="s")
    return str(refused.value.param), refused.value.message


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "param", "words"),
    [
        ({"type": "objekt"}, "s", "objekt"),
        ({"properties": {"a": {"items": {"type": "string", "pattern": "(("}}}}, "s.properties.a.items", "unclosed group"),
        ({"properties": {"a": {"pattern": "(?=x)", "type": "string"}}}, "s.properties.a", "look-around"),
        ({"properties": {"a": {"$ref": "#/$defs/B"}}}, "s.properties.a", "#/$defs/B"),
        ({"properties": {"a": {"$ref": "other.json"}}}, "s.properties.a", "other.json"),
        ({"$defs": {"Node": NODE}, "properties": {"a": {"$ref": "#/$defs/Node"}}}, "s.$defs.Node.properties.value", "strin"),
        ({"properties": {"a/b %~": {"type": "array", "uniqueItems": True}}}, "s.properties.a/b %~", "'uniqueItems' is not supported"),
        ({"anyOf": [{"type": "string"}, {"not": {}}]}, "s.anyOf.1", "'not'"),
        ({"oneOf": [{"minLength": 1}, {"type": "string"}]}, "s", "anyOf"),
        ({"allOf": [{"type": "string"}, {"type": "array"}]}, "s", "incompatible"),
        ({"items": {"type": "integer", "minimum": 3, "maximum": 2}, "minItems": 1, "type": "array"}, "s.items", "greater"),
        ({"properties": {"a": {"minProperties": 2}}}, "s.properties.a", "minProperties"),
        ({"$ref": "#"}, "s", "nothing satisfies it"),
        ({"items": {"type": "array", "items": {"$id": "x"}}}, "s.items.items", "$id"),
        ({"properties": {"a": {"type": "number", "exclusiveMinimum": int("9" * 400)}}}, "s.properties.a", "exclusiveMinimum"),
        ({"multipleOf": int("9" * 400)}, "s", "multipleOf"),
        ({"$defs": [1]}, "s", "'$defs' must be an object"),
        # What would take all memory there is, or very long.
        ({"multipleOf": 99_999_989}, "s", "multipleOf"),
        ({"allOf": [{"multipleOf": 9973}, {"multipleOf": 9967}]}, "s.allOf.1", "multipleOf"),
        ({"multipleOf": 0.001234567}, "s", "multipleOf"),
        (nested(200), "s", "nested"),
        (nested(20_000), "s", "nested"),
        ({"enum": [f"value {number}" for number in range(30_000)]}, "s", "characters"),
        ({"properties": {f"p{number}": {} for number in range(500)}}, "s", "optional"),
        ({"required": [f"p{number}" for number in range(6000)]}, "s", "properties"),
        ({"allOf": [{"anyOf": [{"required": [f"{n}"]}, {"required": [f"x{n}"]}]} for n in range(20)]}, "s", ""),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_place(schema: dict[str, Any], param: str, words: str) -> None:
    named, sentence = refusal(schema)
    assert named == param
    assert words in sentence


@pytest.mark.parametrize(
    "schema",
    [
        {"title": "T", "description": "d", "default": 1, "examples": [2], "$comment": "c", "deprecated": True, "type": "integer"},
        {"$schema": "http://json-schema.org/draft-07/schema#", "$id": "http://example.test/x", "type": "string"},
        {"type": "string", "format": "of our own"},
        {"type": "array", "items": {"type": "string"}, "uniqueItems": False},
        {"enum": [f"value {number}" for number in range(5000)]},
        {"$defs": {"Node": NODE}, "type": "string"},  # nobody refers to what is wrong
        {"type": "string", "pattern": "(a|b)*a(a|b){200}"},
        {"type": "string", "pattern": "^(a+)+$", "maxLength": 10**9},
        {"type": "array", "minItems": 10**6},
        {"type": "number", "multipleOf": 0.25},
        nested(40),
    ],
)
def test_what_only_describes_and_what_is_merely_large_passes(schema: dict[str, Any]) -> None:
    check_schema(schema, param="s")


def test_settings_of_the_library_are_not_the_caller_s_to_make() -> None:
    assert "uniqueItems" in refusal({"x-guidance": {"lenient": True}, "type": "array", "uniqueItems": True})[1]
    shape = AnswerShape(content={"x-guidance": {"whitespace_flexible": False}, "type": "object", "properties": {"a": {"type": "null"}}})
    assert accepts(shape, '{ "a": null }')


def test_a_key_cannot_pass_for_another_by_its_spelling() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert accepts(AnswerShape(content=schema), '{"b": "x"}')
    assert not accepts(AnswerShape(content=schema), '{"\\u0061": "x"}')


def test_whatever_is_drawn_keeps_to_the_schema() -> None:
    ended = 0
    for seed in range(2000, 2150):
        schema = random_schema(seed)
        likes = {**dict.fromkeys(b'"}],', 5.0), **dict.fromkeys(b"\n\t\\ ", 0.3), END: 5.0}
        text = drawn(AnswerShape(content=schema), random.Random(seed), likes=lambda byte, likes=likes: likes.get(byte, 1.0))  # type: ignore[misc]  # noqa: S311
        if text is not None:
            jsonschema.validate(json.loads(text), schema)
            ended += 1
    assert ended > 75


@pytest.mark.parametrize(
    ("schema", "inside", "outside"),
    [
        ({"minimum": -2.5, "exclusiveMaximum": -2}, "-2.25", "-2"),
        ({"exclusiveMinimum": 0, "maximum": 0.25}, "0.1", "0"),
        ({"exclusiveMinimum": True, "minimum": 2, "maximum": 2.5}, "2.1", "2"),
        ({"allOf": [{"exclusiveMinimum": 2}, {"maximum": 2.5}]}, "2.4", "2.0"),
        ({"exclusiveMaximum": 3, "minimum": 1, "type": "integer"}, "2", "3"),
    ],
)
def test_a_number_stays_off_an_edge_that_is_excluded(schema: dict[str, Any], inside: str, outside: str) -> None:
    shape = AnswerShape(content={"type": "number"} | schema)
    assert accepts(shape, inside)
    assert not accepts(shape, outside)


@pytest.mark.parametrize(
    ("pattern", "accepted", "refused"),
    [
        (r"^\d+$", "12", "१२"),
        (r"^[\w.]+$", "a_1.b", "é"),
        (r"^[^\s@]+@\S+$", "a@b", "a @b"),
        (r"^a.c$", "abc", "a\u2028c"),
        (r"^[.\]\\d]+$", r".]\d", "1"),
        (r"^\.\\.$", r".\x", "ax"),
    ],
)
def test_patterns_let_through_what_every_reader_of_them_accepts(pattern: str, accepted: str, refused: str) -> None:
    shape = AnswerShape(content={"type": "string", "pattern": pattern})
    assert accepts(shape, json.dumps(accepted, ensure_ascii=False))
    assert re.search(pattern, accepted)
    assert not accepts(shape, json.dumps(refused, ensure_ascii=False))
    assert narrowed(narrowed(pattern)) == narrowed(pattern)
