"""Calls of tools read as they are written, by the same rules that their grammar has. Pure."""

from __future__ import annotations

from app.structure.answer import read_call
from app.structure.json_calls import begun_json_call
from app.structure.tagged_calls import begun_tagged_call
from app.structure.tool_syntax import ToolSpec, ToolSyntax

__all__ = ["CallStream", "is_whole_call"]


class CallStream:
    """One call, whose text comes in pieces.

    Args:
        syntax: How calls are written.
        tools: What may be called.
    """

    def __init__(self, syntax: ToolSyntax, tools: tuple[ToolSpec, ...]) -> None:
        self._syntax = syntax
        self._tools = tools
        self._body = ""
        self._named = False
        self._told = ""

    def push(self, text: str) -> tuple[str, str] | None:
        """Return what *text* adds to the call: its name, once, and the next piece of its arguments; None where that is nothing."""
        self._body += text
        begun = begun_json_call(self._body) if self._syntax.form == "json" else begun_tagged_call(self._body, self._tools)
        return None if begun is None else self._tell(*begun)

    def end(self) -> tuple[str, str] | None:
        """Return the rest of the call, likewise.

        Raises:
            ValueError: It is no whole call.
        """
        call = read_call(self._body, self._syntax, self._tools)
        return self._tell(call.name, call.arguments)

    def _tell(self, name: str, arguments: str) -> tuple[str, str] | None:
        piece = arguments.removeprefix(self._told)
        self._told = arguments
        if self._named and not piece:
            return None
        told = "" if self._named else name
        self._named = True
        return told, piece


def is_whole_call(syntax: ToolSyntax, tools: tuple[ToolSpec, ...], text: str) -> bool:
    """Return whether an end marker after *text* ends a call; else it stands in a string of it."""
    try:
        read_call(text, syntax, tools)
    except ValueError:
        return False
    return True
