"""JSON schemas as rules of a grammar, and what is said of those that cannot be one.

Draft 2020-12 as far as llguidance keeps to it. What only describes (titles,
defaults, formats nobody knows) passes and changes nothing; a keyword that would
not be kept is refused by name, with the place where it stands.
"""

from __future__ import annotations

import functools
import json
import math
import re
import time
from collections.abc import Mapping
from typing import Any, Final

from app.errors import InvalidRequest
from app.structure.llguidance_library import bytes_vocabulary, refusal_of_schema
from app.structure.patterns import narrowed
from app.structure.schema_bounds import refusal_by_bounds
from app.structure.schema_tree import DEFINITIONS, Path, Schema, at, children, pointer, rebuilt, target

__all__ = ["GAP", "check_schema", "is_usable", "json_rule", "says"]

# Space as models write it: none, one blank, or a new line and its indentation. Without a bound some never get past it.
# No \u: a key spelled with it would pass for another than it is, and half a surrogate pair for text.
GAP: Final = r" |\r?\n[ \t]{0,32}"
_WRITTEN: Final = {"whitespace_pattern": GAP, "json_allowed_escapes": 'nrbtf\\"'}
_FORMATS = frozenset({"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"})
_DESCRIBES = frozenset(
    {"$anchor", "$comment", "$id", "$schema", "default", "deprecated", "description", "examples", "readOnly", "title", "writeOnly"}
)
_OURS = "x-guidance"  # llguidance's own settings, which are not the caller's to make
_ROOT: Final = ("$defs", "root")
_PARAM_CHARACTERS = 200  # names are the caller's, of any length
_EDGE = 1e-6
_EDGES_TO = 1e9  # of larger numbers a float has not that many digits
_BLAME_S = 2.0
_ADDRESS = re.compile(r": json-schema:\S*")  # of the schema as it is put together here


def check_schema(schema: Schema, *, param: str) -> None:
    """Refuse a schema that answers cannot be held to.

    Args:
        schema: As the caller sent it.
        param: Where in the request it stands.

    Raises:
        InvalidRequest: Its ``param`` goes on to the place within the schema.
    """
    refusal = _refusal(schema)
    if refusal is not None:
        path, reason = refusal
        msg = f"Answers cannot be held to this schema: {reason}."
        raise InvalidRequest(msg, param=".".join((param, *path))[:_PARAM_CHARACTERS])


def is_usable(schema: Schema) -> bool:
    """Return whether answers can be held to *schema*."""
    return _is_usable(json.dumps(schema))


@functools.lru_cache(maxsize=256)  # an agent sends the same tools with every turn
def _is_usable(schema: str) -> bool:
    return _refusal(json.loads(schema)) is None


def json_rule(schema: Schema, path: Path = ()) -> str:
    """Return the right side of a grammar's rule: JSON of what stands at *path* in *schema*, no space before or after it."""
    plain: Schema = _plain(schema)
    if path:
        inner = at(plain, path)
        refers = "$ref" in json.dumps(inner)
        plain = {"$ref": pointer((*_ROOT, *path)), "$defs": {"root": rebuilt(plain, _moved)}} if refers else _as_mapping(inner)
    return "%json " + _written(plain)


def says(keyword: str) -> bool:
    """Return whether *keyword* constrains; others only describe."""
    return keyword not in _DESCRIBES and keyword != _OURS


def _refusal(schema: Schema) -> tuple[Path, str] | None:
    bounds = refusal_by_bounds(schema)
    if bounds is not None:
        return bounds
    plain = _plain(schema)
    matcher = bytes_vocabulary().matcher(f'%llguidance {{"no_forcing": true}}\nstart: %json {_written(plain)}')
    matcher.compute_bitmask()
    if not matcher.is_error():
        return None
    reason = refusal_of_schema(_written(plain))
    return _blamed(plain, reason) if reason is not None else ((), "nothing satisfies it, or it is too complex")


def _plain(schema: Schema) -> dict[str, Any]:
    """Return *schema* without what does not constrain."""
    return rebuilt(schema, _plain_here)


def _plain_here(node: dict[str, Any]) -> dict[str, Any]:
    plain = {keyword: value for keyword, value in node.items() if says(keyword)}
    place = _referred(plain)
    if place is not None:
        plain["$ref"] = pointer(place)  # as llguidance wants it spelled
    if plain.get("uniqueItems") is False:
        del plain["uniqueItems"]
    if isinstance(plain.get("format"), str) and plain["format"] not in _FORMATS:
        del plain["format"]
    if isinstance(plain.get("pattern"), str):
        plain["pattern"] = narrowed(plain["pattern"])
    return _without_bare_edges(plain)


def _without_bare_edges(plain: dict[str, Any]) -> dict[str, Any]:
    """Move whole numbers that a number must not reach a little inwards: between near bounds llguidance would let them through."""
    for kept, excluded, step in (("minimum", "exclusiveMinimum", _EDGE), ("maximum", "exclusiveMaximum", -_EDGE)):
        # True is draft 4's way to say that the other one is excluded.
        edge = _number(plain.get(kept) if plain.get(excluded) is True else plain.get(excluded))
        if edge is None or edge != int(edge) or abs(edge) >= _EDGES_TO or plain.get("type") == "integer":
            continue
        also = _number(plain.get(kept))
        bounds = [edge + step, *([] if also is None else [also])]
        plain[kept] = max(bounds) if step > 0 else min(bounds)
        del plain[excluded]
    return plain


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _as_mapping(inner: object) -> Mapping[str, Any]:
    return inner if isinstance(inner, Mapping) else {}  # true is the schema of anything


def _written(plain: Mapping[str, Any]) -> str:
    return json.dumps({_OURS: _WRITTEN, **plain})


def _blamed(plain: Schema, reason: str) -> tuple[Path, str]:
    """Return the deepest place that cannot be compiled even by itself, and why.

    The schema is put where references can reach all of it, one place after another in front of it.
    """
    whole = rebuilt(plain, _moved)
    path: Path = ()
    seen = {path}
    until = time.monotonic() + _BLAME_S
    descending = True
    while descending and time.monotonic() < until:
        descending = False
        for inner in _below(plain, path):
            if _referred(at(plain, inner)) in seen:
                continue  # it refers to what it stands in: what is wrong there stands elsewhere
            found = refusal_of_schema(_written({"$ref": pointer((*_ROOT, *inner)), "$defs": {"root": whole}}))
            if found is not None and inner not in seen:
                path, reason, descending = inner, found, True
                seen.add(path)
                break
    return path, _sentence(reason)


def _below(plain: Schema, path: Path) -> list[Path]:
    """Return the places that the schema at *path* is made of. Definitions count where they are referred to."""
    node = at(plain, path)
    if not isinstance(node, Mapping):
        return []
    named = _referred(node)
    inside = [(*path, *inner) for inner, _ in children(node) if inner[0] not in DEFINITIONS]
    return inside if named is None else [*inside, named]


def _moved(node: dict[str, Any]) -> dict[str, Any]:
    place = _referred(node)
    return node if place is None else node | {"$ref": pointer((*_ROOT, *place))}


def _referred(node: object) -> Path | None:
    reference = node.get("$ref") if isinstance(node, Mapping) else None
    return target(reference) if isinstance(reference, str) else None


def _sentence(reason: str) -> str:
    """Return one of llguidance's messages, without its drawings."""
    if reason.startswith("Unimplemented keys: "):
        names = json.loads(reason.removeprefix("Unimplemented keys: "))
        return f"{', '.join(map(repr, names))} {'is' if len(names) == 1 else 'are'} not supported"
    if reason.startswith("oneOf "):
        return "'oneOf' is supported where its alternatives provably exclude each other; take 'anyOf'"
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    told = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[0] if lines else "it is too complex")
    kind = "'pattern': " if reason.startswith("regex parse error") else ""
    return f"{kind}{_ADDRESS.sub('', told)[:300].rstrip('.')}"
