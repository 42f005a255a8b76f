"""Reading the calls of an answer that a grammar keeps well-formed: piece by piece, since what was told stays true."""

from __future__ import annotations

from collections.abc import Sequence

from app.engines.protocols import CallPiece
from app.structure.answer import ToolSpec, ToolSyntax
from app.structure.call_stream import CallStream

__all__ = ["HeldCallReader"]


class HeldCallReader:
    """A :class:`~app.engines.markup.CallReader` for a syntax that grammars are written for.

    Args:
        syntax: How calls are written.
        tools: What may be called.
    """

    def __init__(self, syntax: ToolSyntax, tools: tuple[ToolSpec, ...]) -> None:
        self._syntax = syntax
        self._tools = tools
        self._stream = CallStream(syntax, tools)
        self._calls = 0  # ended

    def push(self, text: str) -> Sequence[CallPiece]:
        """Return what *text* adds."""
        return self._pieces(self._stream.push(text))

    def end(self) -> Sequence[CallPiece] | None:
        """Return the rest of the call; None where it is none."""
        try:
            return self._pieces(self._stream.end())
        except ValueError:
            return None
        finally:
            self._calls += 1
            self._stream = CallStream(self._syntax, self._tools)

    def _pieces(self, told: tuple[str, str] | None) -> Sequence[CallPiece]:
        return () if told is None else (CallPiece(self._calls, *told),)
