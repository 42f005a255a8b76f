r"""Regular expressions of JSON schemas, as llguidance is to read them. Pure.

Schemas' patterns are ECMAScript's, where ``\d`` and ``\w`` are ASCII; Python and Rust
take them for all scripts. What we let through is what all three accept.
"""

from __future__ import annotations

import re

__all__ = ["narrowed"]

_NARROW = {"d": "0-9", "w": "A-Za-z0-9_", "s": r" \t\n\r\f\v"}
_PIECE = re.compile(r"\\.|\[\^?|\]|\.|[^\\\[\].]+", re.DOTALL)


def narrowed(pattern: str) -> str:
    r"""Return *pattern* with ``\d``, ``\w``, ``\s`` and ``.`` as narrow as any reader takes them.

    A class that rules out keeps them: there the widest reading lets the least through.
    """
    made: list[str] = []
    inside, rules_out = False, False
    for piece in _PIECE.findall(pattern):
        if piece in {"[", "[^"} and not inside:
            inside, rules_out = True, piece == "[^"
        elif piece == "]":
            inside = False
        narrow = _NARROW.get(piece[1]) if len(piece) == 2 and piece[0] == "\\" and not rules_out else None  # noqa: PLR2004 - an escape
        if narrow is not None:
            made.append(narrow if inside else f"[{narrow}]")
        elif piece == "." and not inside:
            made.append(r"[^\n\r\u2028\u2029]")
        else:
            made.append(piece)
        rules_out = rules_out and inside
    return "".join(made)
