"""The head of a result: a small block of YAML that says what the text came from.

Written by hand, because every text in it is quoted and nothing nests deeper
than a list: a YAML parser reads it, whatever a recording is called. What is
read back are the lines of the first level alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["Value", "read_head", "rendered"]

Value = str | float | Sequence[str] | Mapping[str, str] | None

_FENCE = "---"
_LINE = re.compile(r"(?P<name>[a-z0-9_]+): (?P<value>.+)")
_LONGEST_HEAD_CHARACTERS = 256 * 1024
# What YAML allows in no scalar, and what some readers take for the end of a line.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def rendered(fields: Mapping[str, Value]) -> str:
    """Return the block; what is None, or an empty list, is left out."""
    lines = [_FENCE]
    for name, value in fields.items():
        if value is None or (not isinstance(value, str | int | float) and not value):
            continue
        if isinstance(value, Mapping):
            lines += [f"{name}:", *(f"  {key}: {_quoted(text)}" for key, text in value.items())]
        elif isinstance(value, str):
            lines.append(f"{name}: {_quoted(value)}")
        elif isinstance(value, int | float):
            lines.append(f"{name}: {value}")
        else:
            lines += [f"{name}:", *(f"  - {_quoted(text)}" for text in value)]
    return "\n".join([*lines, _FENCE, ""])


def read_head(path: Path) -> dict[str, str] | None:
    """Return the fields of the first level of a file's front matter, numbers as text; None where it has none, or is not there."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_LONGEST_HEAD_CHARACTERS)
    except (FileNotFoundError, IsADirectoryError):
        return None
    first, *lines = text.split("\n")
    if first.rstrip() != _FENCE:
        return None
    fields: dict[str, str] = {}
    for line in lines:
        if line.rstrip() == _FENCE:
            return fields
        if found := _LINE.fullmatch(line.rstrip()):
            fields[found["name"]] = _unquoted(found["value"])
    return None


def _quoted(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _unquoted(value: str) -> str:
    try:
        text = json.loads(value)
    except ValueError:  # edited by a person, who needs no quotes
        return value
    return text if isinstance(text, str) else value
