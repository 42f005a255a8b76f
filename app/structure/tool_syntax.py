"""How a model writes tool calls: between two markers, as JSON or as tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["ToolSpec", "ToolSyntax"]


@dataclass(frozen=True, slots=True)
class ToolSyntax:
    """How calls are written.

    ``json``: ``{"name": …, "arguments": {…}}`` (Hermes, Qwen 2.5, Qwen 3). ``qwen3_coder``: ``<function=…>`` with a
    ``<parameter=…>`` for each argument (Qwen3-Coder, Qwen 3.5).
    """

    form: Literal["json", "qwen3_coder"]
    start: str = "<tool_call>"
    end: str = "</tool_call>"


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A function that the model may call."""

    name: str
    parameters: Mapping[str, Any] | None = None  # JSON schema of its arguments, None: it takes none
    strict: bool = False  # its schema was checked; another one that cannot be compiled means any JSON object
