"""Functions that a model may call, and how it writes calls: between two markers, as JSON or as tags.

Markers are text. What a tokenizer makes of them (one token or several) changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.structure.schemas import check_schema, is_usable

__all__ = ["Call", "ToolSpec", "ToolSyntax"]

_NOTHING: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
_ANYTHING: Mapping[str, Any] = {"type": "object"}


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
    strict: bool = False

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema that arguments are held to: of any object where they cannot be held to the tool's own.

        Raises:
            InvalidRequest: They cannot, and the tool is strict.
        """
        wanted = self._wanted
        if is_usable(wanted):
            return wanted
        self.check(param="tools")
        return _ANYTHING

    def check(self, *, param: str) -> None:
        """Refuse a strict tool whose arguments could not be held to its schema.

        Args:
            param: Where in the request the schema stands.

        Raises:
            InvalidRequest: It says where in the schema.
        """
        if self.strict:
            check_schema(self._wanted, param=param)

    @property
    def _wanted(self) -> Mapping[str, Any]:
        if self.parameters is None:
            return _NOTHING
        types = self.parameters.get("type", "object")
        # Arguments are an object, whether the schema says it or not. One that says something else stays, and is of no use.
        takes_objects = types == "object" or (isinstance(types, list) and "object" in types)
        return {**self.parameters, "type": "object"} if takes_objects else {"allOf": [_ANYTHING, self.parameters]}


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it was written."""

    name: str
    arguments: str  # a JSON object
