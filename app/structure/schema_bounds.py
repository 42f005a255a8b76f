"""What we refuse of a JSON schema before llguidance sees it. Pure.

Three kinds: what would take too long or too much memory to compile, what llguidance
lets through without holding answers to it, and references that leave the schema.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal

from app.structure.schema_tree import DEFINITIONS, Path, Schema, target, walk

__all__ = ["refusal_by_bounds"]

_MOST_CHARACTERS = 256 * 1024
_MOST_LEVELS = 100  # llguidance's own reader gives up at 128
_MOST_OPTIONAL = 400  # of one object: its parser gives up at about 500
_MOST_PROPERTIES = 5000
# Its automaton counts up to the least common multiple; with 10,000,000 it takes all memory there is.
_MOST_MULTIPLE = 20_000
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")


def refusal_by_bounds(schema: Schema) -> tuple[Path, str] | None:
    """Return where and why *schema* cannot be used, None if nothing here stands against it."""
    if _levels(schema) > _MOST_LEVELS:
        return (), f"it is nested deeper than {_MOST_LEVELS} levels"
    if (size := len(json.dumps(schema))) > _MOST_CHARACTERS:
        return (), f"it has {size} characters, more than {_MOST_CHARACTERS}"
    found = list(walk(schema))
    known = {path for path, _ in found}
    properties = sum(len(_mapping(node, "properties").keys() | _required(node)) for _, node in found)
    if properties > _MOST_PROPERTIES:
        return (), f"it has {properties} properties, more than {_MOST_PROPERTIES}"
    return next(_refusals(found, known), None) or _by_multiples(found)


def _refusals(found: list[tuple[Path, Schema]], known: set[Path]) -> Iterator[tuple[Path, str]]:
    for path, node in found:
        optional = _mapping(node, "properties").keys() - _required(node)
        if len(optional) > _MOST_OPTIONAL:
            yield path, f"it has {len(optional)} optional properties, more than {_MOST_OPTIONAL}"
        # Keys that no property names may come twice, and count once when they are read.
        least = node.get("minProperties")
        if isinstance(least, int) and least > max(1, len(_required(node))):
            yield path, "'minProperties' above 1 is only kept where as many properties are required"
        if path and isinstance(node.get("$id"), str):
            yield path, "'$id' is not supported inside of a schema"
        yield from ((path, reason) for reason in _mistakes(node))
        reference = node.get("$ref")
        if isinstance(reference, str):
            place = target(reference)
            if place is None:
                yield path, f"'$ref' is {reference[:100]!r}: only places in this schema, such as '#/$defs/Name', can be referred to"
            elif place not in known:
                yield path, f"'$ref' is {reference[:100]!r}, and no schema is there"


def _mistakes(node: Schema) -> Iterator[str]:
    """Yield what llguidance does not look at, or nobody can count with."""
    for keyword in sorted(DEFINITIONS & node.keys()):
        named = node[keyword]
        if not isinstance(named, Mapping) or not all(isinstance(inner, Mapping | bool) for inner in named.values()):
            yield f"{keyword!r} must be an object of schemas"
    for keyword in _NUMBERS:
        value = node.get(keyword)
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            yield f"{keyword!r} is too large a number"


def _by_multiples(found: list[tuple[Path, Schema]]) -> tuple[Path, str] | None:
    """Refuse multiples that are large, or so different that together they are: schemas may be joined in any way."""
    together = 1
    scale = 0
    for path, node in found:
        value = node.get("multipleOf")
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0 or not math.isfinite(value):
            continue
        exact = Decimal(str(value))
        exponent = exact.as_tuple().exponent
        digits = max(0, -int(exponent))
        if digits > scale:
            together, scale = together * 10 ** (digits - scale) if together > 1 else 1, digits
        together = math.lcm(together, int(exact.scaleb(scale)))
        if together > _MOST_MULTIPLE:
            return path, f"'multipleOf' is too large: the least common multiple of all in a schema may be {_MOST_MULTIPLE}"
    return None


def _levels(schema: Schema) -> int:
    level: list[object] = [schema]
    levels = 0
    while level and levels <= _MOST_LEVELS:
        levels += 1
        level = [inner for value in level for inner in _inside(value)]
    return levels


def _inside(value: object) -> list[object]:
    values = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [inner for inner in values if isinstance(inner, Mapping | list)]


def _mapping(node: Schema, keyword: str) -> Mapping[str, object]:
    value = node.get(keyword)
    return value if isinstance(value, Mapping) else {}


def _required(node: Schema) -> set[str]:
    value = node.get("required")
    return {name for name in value if isinstance(name, str)} if isinstance(value, list) else set()
