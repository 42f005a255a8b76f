"""From Anthropic's turns to a chat's: what stands in one turn there may be several here, and the other way round. Pure.

- Turns of one role that follow each other are one, as Anthropic has it: some
  templates take nothing else.
- Results of tools become turns of their own, before the rest of the user's.
  Pictures in them are shown in the user's, since no template has them elsewhere.
- A system turn within the conversation becomes part of the user's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, takewhile
from typing import Any, Final, NamedTuple

from app.api.anthropic.blocks import (
    DocumentBlock,
    ImageBlock,
    SearchResultBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from app.api.anthropic.requests import AssistantTurn, SystemTurn, Turn, UserTurn

__all__ = ["chat_messages", "joined_text"]

_PICTURE_FOLLOWS: Final = "[A picture, shown after the tools' results.]"

Block = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolResultBlock | ToolUseBlock | ThinkingBlock


class Placed(NamedTuple):
    """A block, and where the caller wrote it."""

    path: str
    block: Any


class Shown(NamedTuple):
    """A text, or a picture's address and where the caller wrote it."""

    text: str = ""
    address: str = ""
    path: str = ""


def chat_messages(system: str | list[TextBlock] | None, turns: Sequence[Turn], origins: dict[str, str]) -> list[dict[str, Any]]:
    """Return the messages of a chat.

    Args:
        system: Its system prompt; system turns at the beginning go on with it.
        turns: Checked.
        origins: Gets the paths of pictures: in the chat, and where the caller wrote them.
    """
    first = [turn for turn in takewhile(lambda turn: turn.role == "system", turns) if isinstance(turn, SystemTurn)]
    given = [system or "", *(turn.content for turn in first)]
    instructions = [text for content in given if (text := joined_text(_texts(content)))]
    messages: list[dict[str, Any]] = [{"role": "system", "content": joined_text(instructions)}] if instructions else []
    placed = [(_speaker(turn), _placed(turn, number)) for number, turn in enumerate(turns)][len(first) :]
    for speaker, group in groupby(placed, key=lambda turn: turn[0]):
        blocks = [block for _, own in group for block in own]
        messages += [_assistant(blocks)] if speaker == "assistant" else _user(blocks, len(messages), origins)
    return messages


def joined_text(texts: Iterable[str]) -> str:
    """Return blocks of text as one. They are passages of their own, so a line ends between them."""
    return "\n".join(texts)


def _texts(content: str | list[TextBlock]) -> list[str]:
    return [content] if isinstance(content, str) else [block.text for block in content]


def _speaker(turn: Turn) -> str:
    return "assistant" if isinstance(turn, AssistantTurn) else "user"


def _placed(turn: UserTurn | AssistantTurn | SystemTurn, number: int) -> list[Placed]:
    path = f"messages.{number}.content"
    if isinstance(turn, SystemTurn):
        return [Placed(path, TextBlock(type="text", text=joined_text(["<system>", *_texts(turn.content), "</system>"])))]
    if isinstance(turn.content, str):
        return [Placed(path, TextBlock(type="text", text=turn.content))]
    return [Placed(f"{path}.{place}", block) for place, block in enumerate(turn.content)]


def _assistant(blocks: Sequence[Placed]) -> dict[str, Any]:
    own = [placed.block for placed in blocks]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": joined_text(block.text for block in own if isinstance(block, TextBlock)),
    }
    if thought := joined_text(block.thinking for block in own if isinstance(block, ThinkingBlock)):
        message["reasoning_content"] = thought
    if calls := [_call(block) for block in own if isinstance(block, ToolUseBlock)]:
        message["tool_calls"] = calls
    return message


def _call(block: ToolUseBlock) -> dict[str, Any]:
    arguments = json.dumps(block.input, ensure_ascii=False)
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}


def _user(blocks: Sequence[Placed], begin: int, origins: dict[str, str]) -> list[dict[str, Any]]:
    """Return the tools' turns, then the user's own, which the chat has from number *begin* on."""
    messages: list[dict[str, Any]] = []
    pictures: list[Shown] = []
    shown: list[Shown] = []
    for path, block in blocks:
        if isinstance(block, ToolResultBlock):
            came = list(_of_result(path, block))
            pictures += [one for one in came if one.address]
            text = joined_text(one.text or _PICTURE_FOLLOWS for one in came if one.text or one.address)
            messages.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": f"Error: {text}" if block.is_error else text})
        else:
            shown += _shown(path, block)
    if pictures or shown or not messages:
        messages.append({"role": "user", "content": _content([*pictures, *shown], f"messages.{begin + len(messages)}.content", origins)})
    return messages


def _content(shown: Sequence[Shown], path: str, origins: dict[str, str]) -> str | list[dict[str, Any]]:
    """Return a turn's content: a text, or, where there are pictures, parts."""
    if not any(one.address for one in shown):
        return joined_text(one.text for one in shown)
    parts: list[dict[str, Any]] = []
    for is_picture, group in groupby(shown, key=lambda one: bool(one.address)):
        if not is_picture:
            parts.append({"type": "text", "text": joined_text(one.text for one in group)})
            continue
        for one in group:
            origins[f"{path}.{len(parts)}.image_url.url"] = one.path
            parts.append({"type": "image_url", "image_url": {"url": one.address}})
    return parts


def _of_result(path: str, block: ToolResultBlock) -> Iterator[Shown]:
    if isinstance(block.content, str):
        yield Shown(block.content)
        return
    for place, inner in enumerate(block.content or ()):
        yield from _shown(f"{path}.content.{place}", inner)


def _shown(path: str, block: Block) -> Iterator[Shown]:
    """Yield what the model gets to see of a block."""
    match block:
        case TextBlock():
            yield Shown(block.text)
        case ImageBlock():
            yield _picture(path, block)
        case SearchResultBlock():
            yield Shown(joined_text([block.title, block.source, *(inner.text for inner in block.content)]))
        case DocumentBlock():
            yield from _of_document(path, block)


def _picture(path: str, block: ImageBlock) -> Shown:
    source = block.source
    if source.type == "url":
        return Shown(address=source.url, path=f"{path}.source.url")
    return Shown(address=f"data:{source.media_type};base64,{source.data}", path=f"{path}.source.data")


def _of_document(path: str, block: DocumentBlock) -> Iterator[Shown]:
    yield from (Shown(text) for text in (block.title, block.context) if text)
    source = block.source
    if source.type == "text":
        yield Shown(source.data)
    elif isinstance(source.content, str):
        yield Shown(source.content)
    else:
        for place, inner in enumerate(source.content):
            yield from _shown(f"{path}.source.content.{place}", inner)
