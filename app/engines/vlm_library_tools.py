"""mlx-vlm's parsers of tool calls, and the one door to them: which a chat template uses, and what they read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from mlx_vlm.tools import ToolParser, load_tool_module
from mlx_vlm.tools.registry import _infer_tool_parser

from app.engines.protocols import CallPiece

__all__ = ["JSON_CALLS", "LibraryCallReader", "call_tags", "syntax_of"]

JSON_CALLS = "json_tools"
"""``<tool_call>{"name": …, "arguments": …}</tool_call>``: what Hermes began and Qwen made common."""

# What the parsers raise for what is no call: none has an error of its own.
_UNREADABLE = (ValueError, KeyError, TypeError, SyntaxError, AttributeError, IndexError)

_Tools = Sequence[Mapping[str, Any]]


def syntax_of(chat_template: object) -> str | None:
    """Return the name of the parser for calls of a model with this template; None where the template knows no tools."""
    found: str | None = _infer_tool_parser(chat_template)
    return found


def call_tags(syntax: str) -> tuple[str, str]:
    """Return the tags around a call; without an end tag, a call ends with its line."""
    parser = _parser(syntax)
    return parser.tool_call_start, parser.tool_call_end


class LibraryCallReader:
    """A :class:`~app.engines.markup.CallReader` for one of the library's syntaxes: a call is read when it has ended.

    Args:
        syntax: Name of the parser.
        tools: What may be called, as OpenAI writes it.
    """

    def __init__(self, syntax: str, tools: _Tools) -> None:
        self._parser = _parser(syntax)
        self._tools = [dict(tool) for tool in tools]
        self._names = {tool["function"]["name"] for tool in tools}
        self._body: list[str] = []  # of the call that is open
        self._calls = 0  # ended

    def push(self, text: str) -> Sequence[CallPiece]:
        """Take *text*, and tell nothing yet."""
        self._body.append(text)
        return ()

    def end(self) -> Sequence[CallPiece] | None:
        """Return the call, or several; None where it cannot be read."""
        body, self._body = "".join(self._body), []
        try:
            parsed = self._parser.parse_tool_call(body.strip(), self._tools)
            calls = parsed if isinstance(parsed, list) else [parsed]
            pieces = [
                CallPiece(self._calls + number, str(call["name"]).strip(), _as_text(call["arguments"]))
                for number, call in enumerate(calls)
            ]  # fmt: skip
        except _UNREADABLE:
            return None
        # Some parsers find a call in any text; none of them asks whether there is such a tool.
        if not all(piece.name in self._names and _is_object(piece.arguments) for piece in pieces):
            return None
        self._calls += len(pieces)
        return pieces


def _parser(syntax: str) -> ToolParser:
    parser: ModuleType = load_tool_module(syntax)
    assert isinstance(parser, ToolParser)  # noqa: S101 - for the type checker; its contract
    return parser


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _as_text(arguments: object) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
