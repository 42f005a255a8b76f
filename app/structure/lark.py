"""Pieces of llguidance's Lark: texts and regular expressions, quoted. Pure."""

from __future__ import annotations

import json
import re
from typing import Final

__all__ = ["ANYTHING", "HEADER", "SPACE", "literal", "regex", "verbatim", "without"]

# Text that a grammar forces may be cut into tokens in any way: the model is used to its own.
HEADER: Final = '%llguidance {"no_forcing": true}'
ANYTHING: Final = "(?s:.*)"
SPACE: Final = r"[ \t\r\n]{0,8}"  # bounded: some models never get past a new line
_META = re.compile(r"[\\^$.|?*+()\[\]{}/&~#-]")


def literal(text: str) -> str:
    """Return *text* as a terminal."""
    return json.dumps(text)


def regex(expression: str) -> str:
    """Return a regular expression, whose slashes are escaped, as a terminal."""
    return f"/{expression}/"


def verbatim(text: str) -> str:
    """Return a regular expression of *text* and nothing else."""
    spelled = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
    return "".join(spelled.get(character) or _META.sub(r"\\\g<0>", character) for character in text)


def without(*texts: str) -> str:
    """Return a terminal of any text that has none of *texts* in it."""
    found = "|".join(verbatim(text) for text in texts)
    return f"{regex(ANYTHING)} & ~{regex(f'{ANYTHING}({found}){ANYTHING}')}"
