"""What a model answered, without what is no part of the corrected text: its thoughts, tags, a word before and a note after. Pure.

Nothing of the text itself is changed but the spelling of marks. What cannot be
told from text with certainty stays, for :mod:`app.correction.guard` to judge.
"""

from __future__ import annotations

import re

from app.correction.words import begins_as_talk, words_of

__all__ = ["bare", "uncertain_in", "unmarked"]

_THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_THOUGHT_BEGINS = re.compile(r"<think(?:ing)?>.*\Z", re.DOTALL | re.IGNORECASE)  # and never ends
_THOUGHT_ENDS = re.compile(r"\A.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)  # the prompt's template had it begin
_BEFORE = re.compile(r"<before>.*?</before>", re.DOTALL | re.IGNORECASE)
_TAGS = re.compile(r"</?(?:transcript|before)>", re.IGNORECASE)
_FENCE = re.compile(r"\A```[a-z]*\n(.*?)\n?```\Z", re.DOTALL)
_LABEL = re.compile(r"\A([^\n:\uff1a]{1,200})[:\uff1a][ \t]*(?:\*\*)?[ \t]*")
_EMPTY_LINES = re.compile(r"\n[ \t]*\n\s*")
_MARK = re.compile("\u3010\\s*[?\uff1f]\\s*([^\u3010\u3011\n]{1,80}?)\\s*[?\uff1f]?\\s*\u3011")
_MOST_SHARED = 0.5


def bare(answer: str, raw: str) -> str:
    """Return *answer* without what its model put around the corrected *raw*."""
    text = _THOUGHT_ENDS.sub("", _THOUGHT_BEGINS.sub("", _THOUGHT.sub("", answer)))
    text = _TAGS.sub("", _BEFORE.sub("", text)).strip()
    if fence := _FENCE.match(text):
        text = fence.group(1).strip()
    text = _without_label(text, raw)
    text = _MARK.sub(lambda mark: f"\u3010?{mark.group(1)}\u3011", text)
    return _EMPTY_LINES.sub("\n\n", text).strip()


def uncertain_in(text: str) -> list[str]:
    """Return the words that *text* marks as uncertain, each once, in their order."""
    return list(dict.fromkeys(mark.group(1) for mark in _MARK.finditer(text)))


def unmarked(text: str) -> str:
    """Return *text* as it would be without marks."""
    return _MARK.sub(lambda mark: mark.group(1), text)


def _without_label(text: str, raw: str) -> str:
    """Cut what says that the corrected text follows: a line of its own that ends with a colon, or a few words known for it."""
    label = _LABEL.match(text)
    if label is None or not text[label.end() :].strip():
        return text
    words, begin = words_of(label.group(1)), words_of(raw[:400])
    if not words or words == begin[: len(words)]:
        return text
    own_line = text[label.end() :].startswith("\n")
    shared = sum(word in begin for word in words) / len(words)
    if begins_as_talk(text) or (own_line and shared < _MOST_SHARED):
        return text[label.end() :].strip()
    return text
