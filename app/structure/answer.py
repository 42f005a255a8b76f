"""The shape of a whole answer, and its grammar: thinking, then content or tool calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.structure.tool_syntax import ToolSpec, ToolSyntax

__all__ = ["AnswerShape", "grammar_of"]


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
    raise NotImplementedError(shape)
