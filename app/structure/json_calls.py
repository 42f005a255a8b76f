"""Tool calls as JSON: ``{"name": …, "arguments": {…}}``. Their grammar, and reading what it let through."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from app.structure.lark import literal, regex
from app.structure.schemas import GAP, json_rule
from app.structure.tool_syntax import Call, ToolSpec

__all__ = ["begun_json_call", "json_call_rules", "read_json_call"]

_BEFORE_NAME = re.compile(r'\s*\{\s*"name"\s*:\s*')
_BEFORE_ARGUMENTS = re.compile(r'\s*,\s*"arguments"\s*:\s*')
_END = re.compile(r"\s*\}\s*\Z")
_DECODER = json.JSONDecoder()


def json_call_rules(tools: Sequence[ToolSpec]) -> list[str]:
    """Return the rules of ``call``, what stands between the markers."""
    names = " | ".join(f"call_{number}" for number in range(len(tools)))
    rules = [
        f"CALL_GAP: {regex(f'({GAP})?')}",
        f"""call: CALL_GAP "{{" CALL_GAP {literal('"name"')} CALL_GAP ":" CALL_GAP ({names}) CALL_GAP "}}" CALL_GAP""",
    ]
    for number, tool in enumerate(tools):
        name = literal(json.dumps(tool.name, ensure_ascii=False))
        rules.append(f"""call_{number}: {name} CALL_GAP "," CALL_GAP {literal('"arguments"')} CALL_GAP ":" CALL_GAP arguments_{number}""")
        rules.append(f"arguments_{number}: {json_rule(tool.schema)}")
    return rules


def begun_json_call(text: str) -> tuple[str, str] | None:
    """Return the name and as much of the arguments as has been written; None where the arguments have not begun."""
    try:
        name, begin = _arguments_begin(text)
    except ValueError:
        return None
    try:
        _, end = _DECODER.raw_decode(text, begin)
    except ValueError:  # all that has come of them is theirs
        end = len(text)
    return (name, text[begin:end]) if end > begin else None


def read_json_call(text: str) -> Call:
    """Read what stands between the markers.

    Raises:
        ValueError: It is no whole call.
    """
    name, begin = _arguments_begin(text)
    arguments, end = _DECODER.raw_decode(text, begin)
    if not isinstance(arguments, dict) or _END.match(text, end) is None:
        msg = "a call ends after its arguments"
        raise ValueError(msg)
    return Call(name, text[begin:end])


def _arguments_begin(text: str) -> tuple[str, int]:
    """Return the name, and where the arguments begin.

    Raises:
        ValueError: They have not begun.
    """
    before = _BEFORE_NAME.match(text)
    if before is None:
        msg = "a call begins with its name"
        raise ValueError(msg)
    name, end = _DECODER.raw_decode(text, before.end())
    between = _BEFORE_ARGUMENTS.match(text, end)
    if between is None or not isinstance(name, str):
        msg = "after its name a call has arguments"
        raise ValueError(msg)
    return name, between.end()
