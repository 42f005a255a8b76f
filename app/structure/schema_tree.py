"""Where in a JSON schema other schemas stand. Pure; knows positions, not what keywords mean.

What ``enum``, ``const``, ``default`` and ``examples`` hold is data, however much it looks like a schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

__all__ = ["DEFINITIONS", "Path", "Schema", "at", "children", "pointer", "rebuilt", "target", "walk"]

Schema = Mapping[str, Any]
Path = tuple[str, ...]

DEFINITIONS = frozenset({"$defs", "definitions"})
_ONE = frozenset(
    {
        "additionalItems",
        "additionalProperties",
        "contains",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
_LISTS = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_MAPS = DEFINITIONS | {"dependentSchemas", "patternProperties", "properties"}


def children(schema: Schema) -> Iterator[tuple[Path, Schema]]:
    """Yield the schemas that stand directly in *schema*, in their order; ``true`` and ``false`` are not worth a visit."""
    for keyword, value in schema.items():
        if keyword in _MAPS and isinstance(value, Mapping):
            found: list[tuple[Path, Any]] = [((keyword, name), inner) for name, inner in value.items()]
        elif keyword in _LISTS and isinstance(value, list):
            found = [((keyword, str(place)), inner) for place, inner in enumerate(value)]
        elif keyword in _ONE:
            found = [((keyword,), value)]
        else:
            continue
        yield from ((path, inner) for path, inner in found if isinstance(inner, Mapping))


def walk(schema: Schema) -> Iterator[tuple[Path, Schema]]:
    """Yield *schema* and all schemas in it, each before those in it."""
    waiting: list[tuple[Path, Schema]] = [((), schema)]
    while waiting:
        path, found = waiting.pop()
        yield path, found
        waiting.extend(reversed([((*path, *inner), child) for inner, child in children(found)]))


def rebuilt(schema: Schema, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Return a copy in which every schema went through *change*, inner ones first. The order of keywords and names stays."""
    copy: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _MAPS and isinstance(value, Mapping):
            copy[keyword] = {name: _changed(inner, change) for name, inner in value.items()}
        elif keyword in _LISTS and isinstance(value, list):
            copy[keyword] = [_changed(inner, change) for inner in value]
        elif keyword in _ONE:
            copy[keyword] = _changed(value, change)
        else:
            copy[keyword] = value
    return change(copy)


def target(reference: str) -> Path | None:
    """Return the path that a ``$ref`` within its schema names, None where it names none: another file, an anchor."""
    if reference not in {"", "#"} and not reference.startswith("#/"):
        return None
    return tuple(unquote(step).replace("~1", "/").replace("~0", "~") for step in reference.split("/")[1:])


def pointer(path: Path) -> str:
    """Return *path* as a JSON pointer in a fragment."""
    return "#" + "".join("/" + quote(step.replace("~", "~0").replace("/", "~1"), safe="~") for step in path)


def at(schema: Schema, path: Path) -> object:
    """Return what stands at *path*, None if nothing does."""
    found: object = schema
    for step in path:
        if isinstance(found, Mapping) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return found


def _changed(value: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:  # noqa: ANN401 - a schema, a boolean, or a mistake
    return rebuilt(value, change) if isinstance(value, Mapping) else value
