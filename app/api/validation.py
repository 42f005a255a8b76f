"""From pydantic's errors to one sentence that says what to change.

pydantic reports every branch of a union that did not match. A caller meant
one of them, so the branch nearest to what was sent is the one reported; in it,
where it has unions itself, likewise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.errors import InvalidRequest

__all__ = ["invalid_request", "validated"]

M = TypeVar("M", bound=BaseModel)
Path = tuple[str | int, ...]

_SHOWN_CHARACTERS = 40
_PARAM_CHARACTERS = 120
_SENTENCES = {
    "missing": "is required",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be an array",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "finite_number": "must be a finite number",
    "extra_forbidden": "is not a known parameter; leave it out",
}
_WORDS = {
    "Input should": "must",
    "List should": "must",
    "String should": "must",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
}
_JSON_TYPES = {dict: "an object", list: "an array", str: "a string", type(None): "null"}


def validated(model: type[M], body: object, *, prefix: Path = ()) -> M:
    """Return *body* as *model*.

    Args:
        model: The request model.
        body: Parsed JSON.
        prefix: Where *body* stands in what the caller sent.

    Raises:
        InvalidRequest: One sentence; ``param`` is the dotted path of what is wrong.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise invalid_request(error.errors(include_url=False), body, prefix=prefix) from None


def invalid_request(errors: Sequence[Mapping[str, Any]], body: object, *, prefix: Path = ()) -> InvalidRequest:
    """Return what to tell the caller about *errors*, as pydantic's ``errors()`` gives them."""
    chosen = _nearest_branch(errors, body)
    first = chosen[0]
    path, _ = _split(first, body)
    named = (first.get("ctx") or {}).get("param")
    # Cut: a part may be a key of the caller's own, of any length.
    param = ".".join(str(part) for part in (*prefix, *path, *([named] if named else [])))[:_PARAM_CHARACTERS] or None
    if first["type"] == "unsupported_parameter":
        return InvalidRequest(f"`{param}` {first['msg']}.", param=param)
    # Branches of a union that all fail at one place: any of them would do.
    same = [error for error in chosen if _split(error, body)[0] == path]
    wanted = list(dict.fromkeys(_sentence(error) for error in same))
    sentence = wanted[0] + "".join(f" or {other.removeprefix('must be ')}" for other in wanted[1:])
    return InvalidRequest(f"{f'`{param}`' if param else 'The body'} {sentence}{_got(first)}.", param=param)


def _nearest_branch(errors: Sequence[Mapping[str, Any]], body: object, level: int = 0) -> Sequence[Mapping[str, Any]]:
    """Return the errors to report: those outside unions, or those of the union branch that came closest.

    Args:
        errors: At least one.
        body: What was sent.
        level: How many unions around them have been looked into.
    """
    union_path, tags = _split(errors[0], body)
    if len(tags) <= level:
        return errors[:1]
    depth = tags[level][0]
    branches: dict[str, list[Mapping[str, Any]]] = {}
    for error in errors:
        path, own = _split(error, body)
        if len(own) > level and own[level][0] == depth and path[:depth] == union_path[:depth]:
            branches.setdefault(own[level][1], []).append(error)
    # A branch that is not even of the right JSON type is what the caller did not mean.
    meant = [found for found in branches.values() if not _wrong_type_at(found, depth, body)]
    if not meant:
        return [found[0] for found in branches.values()]
    fewest = min(len(found) for found in meant)
    nearest = max((found for found in meant if len(found) == fewest), key=lambda found: _rank(found[0], body))
    return _nearest_branch(nearest, body, level + 1)


def _wrong_type_at(found: Sequence[Mapping[str, Any]], depth: int, body: object) -> bool:
    first = found[0]
    return len(_split(first, body)[0]) == depth and str(first["type"]).endswith("_type")


def _rank(error: Mapping[str, Any], body: object) -> tuple[tuple[int, str], ...]:
    """Order paths by how far validation came: longer, or further along an array."""
    return tuple((part, "") if isinstance(part, int) else (-1, part) for part in _split(error, body)[0])


def _split(error: Mapping[str, Any], body: object) -> tuple[Path, list[tuple[int, str]]]:
    """Separate an error's location into the path in *body* and the tags of unions.

    pydantic mixes both: ``("input", "list[str]", 1)`` is ``input.1`` in branch ``list[str]``.

    Returns:
        The path, and ``(depth, tag)`` of each union around it, the outermost first.
    """
    loc = error["loc"]
    path: list[str | int] = []
    tags: list[tuple[int, str]] = []
    at: Any = body
    for place, part in enumerate(loc):
        absent_field = error["type"] == "missing" and place == len(loc) - 1
        if (isinstance(at, dict) and part in at) or (isinstance(at, list) and isinstance(part, int) and part < len(at)):
            at = at[part]
        elif isinstance(part, str) and place > 0 and not absent_field:
            tags.append((len(path), part))
            continue
        path.append(part)
    return tuple(path), tags


def _sentence(error: Mapping[str, Any]) -> str:
    known = _SENTENCES.get(error["type"])
    if known:
        return known
    if error["type"] == "union_tag_invalid":
        told = error["ctx"]
        return f"must have as its {_discriminator(error)} one of {told['expected_tags']} (got {told['tag'][:40]!r})"
    if error["type"] == "union_tag_not_found":
        return f"must have a {_discriminator(error)}"
    text = str(error["msg"]).removeprefix("Value error, ").partition(" after validation")[0]
    for theirs, ours in _WORDS.items():
        text = text.replace(theirs, ours)
    return text


def _discriminator(error: Mapping[str, Any]) -> str:
    """Return the field that tells which of several shapes something has."""
    name = str(error["ctx"]["discriminator"]).strip("'")
    return name if name.isidentifier() else "type"


def _got(error: Mapping[str, Any]) -> str:
    """Say what came instead, where that is short or has a type worth naming."""
    value = error.get("input")
    if error["type"] in {"missing", "extra_forbidden"}:
        return ""
    if isinstance(value, dict | list) or value is None:
        return f" (got {_JSON_TYPES[type(value)]})" if str(error["type"]).endswith("_type") else ""
    shown = repr(value) if isinstance(value, str) else json.dumps(value)
    return f" (got {shown})" if len(shown) <= _SHOWN_CHARACTERS else f" (got {_JSON_TYPES.get(type(value), 'a number')})"
