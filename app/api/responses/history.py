"""The input of a stored response as items: all that it answers, previous responses included, but for instructions. Pure.

They are made of the chat's turns, which are all that is stored: a picture comes without its address.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.api.responses.output import call_item, item_id, message_item, reasoning_item, text_part
from app.api.responses.stored import Stored
from app.api.responses.tools import Offered

__all__ = ["input_items"]


def input_items(stored: Stored) -> list[dict[str, Any]]:
    """Return the items, oldest first."""
    items: list[dict[str, Any]] = []
    kinds: dict[str, str] = {}  # call id -> kind of the tool
    for turn in stored.messages:
        items += _items(stored, turn, kinds, len(items))
    return items


def _items(stored: Stored, turn: Mapping[str, Any], kinds: dict[str, str], number: int) -> Iterator[dict[str, Any]]:
    job_id, content = stored.job.id, turn.get("content")

    def ident(kind: str) -> str:
        return f"{item_id(kind, job_id)}_in_{number}"

    if turn["role"] == "tool":
        custom = kinds.get(turn["tool_call_id"]) == "custom"
        kind = "custom_tool_call_output" if custom else "function_call_output"
        facts = {"type": kind, "call_id": turn["tool_call_id"], "output": _text(content), "status": "completed"}
        yield {"id": ident("ctco" if custom else "fco"), **facts}
    elif turn["role"] == "assistant":
        yield from _assistants(stored, turn, kinds, number)
    else:
        parts = [content] if isinstance(content, str) else content or []
        shown = [_part(part) for part in parts]
        yield {"id": ident("msg"), "type": "message", "status": "completed", "role": turn["role"], "content": shown}


def _assistants(stored: Stored, turn: Mapping[str, Any], kinds: dict[str, str], number: int) -> Iterator[dict[str, Any]]:
    job_id = stored.job.id
    if turn.get("reasoning_content"):
        yield reasoning_item(f"{item_id('rs', job_id)}_in_{number}", turn["reasoning_content"], "completed")
    calls = turn.get("tool_calls") or ()
    if _text(turn.get("content")):
        yield message_item(f"{item_id('msg', job_id)}_in_{number}", [text_part(_text(turn["content"]))], "completed")
    for place, call in enumerate(calls):
        name = call["function"]["name"]
        tool = stored.offered.get(name, Offered("function", name))
        kinds[call["id"]] = tool.kind
        item = call_item(job_id, place, call["id"], tool, call["function"]["arguments"], "completed")
        yield item | {"id": f"{item['id']}_in_{number}"}


def _text(content: Any) -> str:  # noqa: ANN401 - a turn's content
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


def _part(part: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "input_text", "text": part}
    if part["type"] == "text":
        return {"type": "input_text", "text": part["text"]}
    return {"type": "input_image", "detail": part["detail"], "file_id": None, "image_url": None}
