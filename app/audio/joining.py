"""Putting texts of neighbouring stretches of sound together. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

__all__ = ["joined_text"]


def joined_text(texts: Iterable[str]) -> str:
    """Put texts one behind the other, with a space where their scripts have spaces between sentences."""
    whole = ""
    for text in (text.strip() for text in texts):
        if whole and text:
            whole += "" if _is_wide(whole[-1]) and _is_wide(text[0]) else " "
        whole += text
    return whole


def _is_wide(character: str) -> bool:
    """Whether *character* is of a script without spaces, or its punctuation."""
    return unicodedata.east_asian_width(character) in {"W", "F"}
