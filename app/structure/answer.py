"""The shape of a whole answer, and its grammar: thinking, then content or tool calls.

Thinking is free up to its end tag, and what looks like a call in it is none.
Free text may say anything but a call that is not well formed: from a start marker
on only a call of a known tool can follow, up to its end marker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.structure.json_calls import json_call_rules, read_json_call
from app.structure.lark import ANYTHING, HEADER, SPACE, literal, regex, verbatim, without
from app.structure.schemas import json_rule
from app.structure.tagged_calls import read_tagged_call, tagged_call_rules
from app.structure.tool_syntax import Call, ToolSpec, ToolSyntax

__all__ = ["AnswerShape", "Call", "ToolSpec", "ToolSyntax", "grammar_of", "read_call"]

_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerShape:
    """What an answer may look like."""

    think: Literal["no", "may", "open"] = "no"  # may: it may begin with a think tag; open: the prompt ended inside of one
    think_tags: tuple[str, str] | None = None  # what begins and ends the thinking; set unless ``think`` is no
    calls: ToolSyntax | None = None  # how this model writes calls, None: it does not
    tools: tuple[ToolSpec, ...] = ()
    choice: Literal["none", "auto", "required"] = "none"  # a tool that is named by the request: required, with that tool alone
    parallel: bool = True  # False: one call at most
    content: Mapping[str, Any] | None = None  # JSON schema of the content; {}: any JSON object; None: free text

    @property
    def is_free(self) -> bool:
        """Whether it forbids nothing, so that no grammar is needed."""
        return self.content is None and not (self.calls and self.tools)


def grammar_of(shape: AnswerShape) -> str:
    """Return the grammar of the whole answer, in llguidance's Lark."""
    rules = [HEADER, f"SPACE: {regex(SPACE)}"]
    starts = ["body"]
    if shape.think == "open":
        rules += _think_rules(shape, begins="")
        starts = ["think body", *(["UNCLOSED"] if _may_be_text(shape) else [])]
    elif shape.think == "may":
        rules += _think_rules(shape, begins=SPACE + verbatim(_tags(shape)[0]))
        starts = ["think body", *(["first", "UNCLOSED"] if _may_be_text(shape) else ["body"])]
    rules.append(f"start: {' | '.join(starts)}")
    rules += _body_rules(shape)
    return "\n".join(rules) + "\n"


def read_call(text: str, syntax: ToolSyntax, tools: tuple[ToolSpec, ...]) -> Call:
    """Read what stands between the two markers of a call.

    An end marker may also stand inside of a string, so a call ends at the first one before which this finds a whole call.

    Raises:
        ValueError: It is no whole call.
    """
    return read_json_call(text) if syntax.form == "json" else read_tagged_call(text, tools)


def _think_rules(shape: AnswerShape, *, begins: str) -> list[str]:
    close = verbatim(_tags(shape)[1])
    return [
        f"think[lazy]: {regex(begins + ANYTHING + close)}",
        f"UNCLOSED: {regex(begins + ANYTHING)} & ~{regex(ANYTHING + close + ANYTHING)}",
    ]


def _body_rules(shape: AnswerShape) -> list[str]:
    """Return the rules of ``body``, what comes after the thinking, and of ``first``, where text may come without any."""
    calls = shape.calls if shape.tools and shape.choice != "none" else None
    if calls is None:
        if shape.content is None:
            marker = [shape.calls.start] if shape.calls and shape.tools else []
            return _free_rules(shape, without(*marker) if marker else regex(ANYTHING))
        leading = "SPACE " if shape.think != "no" else ""
        return [f"body: {leading}content", _content_rule(shape)]
    rules = json_call_rules(shape.tools) if calls.form == "json" else tagged_call_rules(shape.tools)
    one = f"{literal(calls.start)} call {literal(calls.end)}"
    several = f"{one} (SPACE {one})*" if shape.parallel else one
    if shape.choice == "required":
        return [*rules, f"body: SPACE {several} SPACE"]
    if shape.content is not None:
        return [*rules, f"body: SPACE ({several} SPACE | content)", _content_rule(shape)]
    return [*rules, *_mixed_rules(shape, calls)]


def _free_rules(shape: AnswerShape, text: str) -> list[str]:
    first = [f"first: FIRST_TEXT\nFIRST_TEXT: {text} & ~{regex(_begins_thinking(shape))}"] if shape.think == "may" else []
    return [f"body: TEXT\nTEXT: {text}", *first]


def _mixed_rules(shape: AnswerShape, calls: ToolSyntax) -> list[str]:
    """Return the rules of text with calls in it."""
    head = regex(ANYTHING + verbatim(calls.start))
    text = without(calls.start)
    end = literal(calls.end)
    after = "body" if shape.parallel else "SPACE"
    rules = [
        f"head[lazy]: {head}",
        f"TEXT: {text}",
        f"called: head call {end}",
        "body: called* TEXT" if shape.parallel else "body: TEXT | called SPACE",
    ]
    if shape.think == "may":
        thinking = regex(_begins_thinking(shape))
        rules += [
            f"FIRST_HEAD: {head} & ~{thinking}",
            "first_head[lazy]: FIRST_HEAD",
            f"FIRST_TEXT: {text} & ~{thinking}",
            f"first: FIRST_TEXT | first_head call {end} {after}",
        ]
    return rules


def _content_rule(shape: AnswerShape) -> str:
    return f"content: {json_rule(shape.content or _ANY_OBJECT)}"


def _begins_thinking(shape: AnswerShape) -> str:
    return SPACE + verbatim(_tags(shape)[0]) + ANYTHING


def _may_be_text(shape: AnswerShape) -> bool:
    """Return whether the answer may have no content and no call at all, and so may end while the model thinks."""
    return shape.content is None and not (shape.calls and shape.tools and shape.choice == "required")


def _tags(shape: AnswerShape) -> tuple[str, str]:
    if shape.think_tags is None:
        msg = "an answer with thinking needs the tags of it"
        raise ValueError(msg)
    return shape.think_tags
