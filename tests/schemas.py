"""Random JSON schemas of bounded sizes: the subset that docs/structure.md describes. The same for a seed, every time."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

__all__ = ["random_schema"]

Schema = dict[str, Any]

_NAMES = ("id", "name", "city", "größe", "is open", "items", "x-1", "a.b", "日本")
_WORDS = ("red", "green", "", "New York", "a\nb", 'say "hi"', "naïve", "null")
_PATTERNS = (r"^[a-z]{2,6}$", r"^\d{3}-\d{2}$", r"^(foo|bar)+$", r"^[A-Z][a-z]{0,4}( [A-Z][a-z]{0,4})?$", "ab", r"^\w{1,8}$")
_FORMATS = ("date", "time", "date-time", "ipv4", "uuid")
_DEPTH = 3


def random_schema(seed: int) -> Schema:
    """Return a schema of an object, three levels deep at most."""
    draw = random.Random(seed)  # noqa: S311 - schemas, no secrets
    schema = _object(draw, _DEPTH)
    if draw.random() < 0.3:
        schema.pop("maxProperties", None)
        schema["$defs"] = {"Shared": _any(draw, 1), "Node": _node(draw)}
        schema["properties"] |= {"shared": {"$ref": "#/$defs/Shared"}, "node": {"$ref": "#/$defs/Node"}}
        schema["required"] = [*schema.get("required", []), *draw.sample(["shared", "node"], draw.randrange(3))]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"Schema {seed}", **schema}


def _any(draw: random.Random, depth: int) -> Schema:
    kinds: list[Callable[[random.Random, int], Schema]] = [_string, _string, _integer, _number, _listed, _constant, _simple, _nullable]
    if depth > 0:
        kinds += [_object, _object, _array, _array, _either]
    return draw.choice(kinds)(draw, depth)


def _object(draw: random.Random, depth: int) -> Schema:
    names = draw.sample(_NAMES, draw.randint(1, 4))
    schema: Schema = {"type": "object", "properties": {name: _any(draw, depth - 1) for name in names}}
    if required := draw.sample(names, draw.randint(0, len(names))):
        schema["required"] = required
    schema["additionalProperties"] = False
    if draw.random() < 0.1:
        schema |= {"additionalProperties": {"type": "boolean"}, "maxProperties": len(names)}
        schema["required"] = names
    return schema


def _array(draw: random.Random, depth: int) -> Schema:
    least = draw.randint(0, 2)
    schema: Schema = {"type": "array", "items": _any(draw, depth - 1), "minItems": least, "maxItems": least + draw.randint(0, 2)}
    if draw.random() < 0.2:
        return {"type": "array", "prefixItems": [_any(draw, depth - 1) for _ in range(2)], "items": False, "minItems": 2}
    return schema


def _string(draw: random.Random, _depth: int) -> Schema:
    kind = draw.randrange(4)
    if kind == 0:
        return {"type": "string", "pattern": draw.choice(_PATTERNS), "maxLength": 12}
    if kind == 1:
        return {"type": "string", "format": draw.choice(_FORMATS)}
    least = draw.randint(0, 3)
    return {"type": "string", "minLength": least, "maxLength": least + draw.randint(0, 8), "description": "a text"}


def _integer(draw: random.Random, _depth: int) -> Schema:
    least = draw.choice((-1000, -7, 0, 1, 12))
    schema: Schema = {"type": "integer", "minimum": least, "maximum": least + draw.choice((0, 9, 50, 10_000))}
    return draw.choice((schema, {"type": "integer", "exclusiveMinimum": 0, "maximum": 300, "multipleOf": draw.choice((2, 5, 7))}))


def _number(draw: random.Random, _depth: int) -> Schema:
    least = draw.choice((-2.5, 0, 0.25))
    return {"type": "number", "minimum": least, draw.choice(("maximum", "exclusiveMaximum")): least + draw.choice((0.5, 3, 100))}


def _listed(draw: random.Random, _depth: int) -> Schema:
    return {"enum": [*draw.sample(_WORDS, draw.randint(1, 4)), *draw.sample([1, -2.5, None, True, {"a": [1]}], draw.randint(0, 2))]}


def _constant(draw: random.Random, _depth: int) -> Schema:
    return {"const": draw.choice([*_WORDS, 3, False, None, [1, "a"], {"k": {"v": []}}])}


def _simple(draw: random.Random, _depth: int) -> Schema:
    return {"type": draw.choice(["boolean", "null", ["boolean", "null"]])}


def _nullable(draw: random.Random, depth: int) -> Schema:
    return {"anyOf": [_string(draw, depth), {"type": "null"}], "default": None}


def _either(draw: random.Random, depth: int) -> Schema:
    if draw.random() < 0.3:
        return {"allOf": [_object(draw, depth - 1) | {"additionalProperties": True}, {"required": []}]}
    kinds = [{"type": "object", "properties": {"kind": {"const": word}, "value": _any(draw, depth - 1)}} for word in ("one", "two")]
    return {draw.choice(("anyOf", "oneOf")): [kind | {"required": ["kind"], "additionalProperties": False} for kind in kinds]}


def _node(draw: random.Random) -> Schema:
    children = {"type": "array", "items": {"$ref": "#/$defs/Node"}, "maxItems": 1}
    properties: Schema = {"value": _integer(draw, 0), "children": children}
    return {"type": "object", "properties": properties, "required": ["value"], "additionalProperties": False}
