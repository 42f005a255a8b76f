"""What a chat's answer shall look like, from its request and what the model's template does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from app.structure.answer import AnswerShape

__all__ = ["shape_of"]

_THINK_TAGS = ("<think>", "</think>")


def shape_of(request: Mapping[str, Any], template: str, prompt_end: str) -> AnswerShape:
    """Return the shape of the answer to a chat.

    Args:
        request: As the job's record has it.
        template: The model's chat template.
        prompt_end: The last characters of the prompt that it made.
    """
    wanted = (request.get("chat_template_kwargs") or {}).get("enable_thinking") is True
    think: Literal["no", "may", "open"] = "may" if wanted and _THINK_TAGS[1] in template else "no"
    if prompt_end.rstrip().endswith(_THINK_TAGS[0]):
        think = "open"
    return AnswerShape(think=think, think_tags=_THINK_TAGS, content=_content(request.get("response_format")))


def _content(response_format: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if response_format is None or response_format["type"] == "text":
        return None
    schema: Mapping[str, Any] = response_format["json_schema"]["schema"] if response_format["type"] == "json_schema" else {}
    return schema
