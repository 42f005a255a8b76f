"""From the items of a response's input to the turns of a chat, and back to items for those who list them. Pure.

Items are finer than turns: what an assistant thought, said and called, item by
item, is one turn. Pictures that a tool returned become a turn of the user, the
only one that may show them. Instructions, and what system and developer say
right after them, are one turn: templates take such a turn at the beginning alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from app.api.responses.items import (
    CallOutput,
    CustomCall,
    CustomCallOutput,
    FunctionCall,
    InputImage,
    InputItem,
    Message,
    Part,
    Reasoning,
)
from app.api.responses.tools import chat_name
from app.errors import InvalidRequest

__all__ = ["Turns", "answered", "with_instructions", "without_instructions"]

_BREAK = "\n\n"
_SYSTEM = frozenset({"system", "developer"})


class Turns:
    """The turns that items make.

    Attributes:
        messages: Of the chat.
        origins: Path in a chat's request -> path in the response's, where errors may point.

    Args:
        called: Ids of calls that were made before these items.
    """

    def __init__(self, called: Iterable[str] = ()) -> None:
        self.messages: list[dict[str, Any]] = []
        self.origins: dict[str, str] = {}
        self._called = set(called)
        self._pictures: list[tuple[str, InputImage]] = []  # of tools: shown after the last of their answers

    def add(self, given: str | Sequence[InputItem]) -> None:
        """Add what was given as ``input``.

        Raises:
            InvalidRequest: A tool answers a call that nobody made.
        """
        if isinstance(given, str):
            self._turn("user", "input", content=given)
            return
        for number, item in enumerate(given):
            where = f"input.{number}"
            if not isinstance(item, CallOutput | CustomCallOutput):
                self._show_pictures()
            match item:
                case Message():
                    self._say(item, where)
                case FunctionCall():
                    self._call(item.call_id, chat_name(item.name, item.namespace), item.arguments, where)
                case CustomCall():
                    self._call(item.call_id, chat_name(item.name, item.namespace), json.dumps({"input": item.input}), where)
                case CallOutput() | CustomCallOutput():
                    self._answer(item, where)
                case Reasoning():
                    self._think(_BREAK.join(text.text for text in item.content or item.summary or ()), where)
        self._show_pictures()

    def _turn(self, role: str, where: str, **facts: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a turn
        self.origins[f"messages.{len(self.messages)}"] = where
        self.messages.append({"role": role, **facts})
        return self.messages[-1]

    def _assistant(self, where: str) -> dict[str, Any]:
        """Return the assistant's turn that is being made."""
        if self.messages and self.messages[-1]["role"] == "assistant":
            return self.messages[-1]
        return self._turn("assistant", where, content="")

    def _think(self, thought: str, where: str) -> None:
        if thought:
            turn = self._assistant(where)
            turn["reasoning_content"] = _BREAK.join(filter(None, [turn.get("reasoning_content"), thought]))

    def _say(self, item: Message, where: str) -> None:
        if item.role == "assistant":
            turn = self._assistant(where)
            turn["content"] = _BREAK.join(filter(None, [turn["content"], _text_of(item.content)]))
        elif item.role in _SYSTEM or isinstance(item.content, str):
            self._check_pictures(item.content, where, item.role)
            self._turn(item.role, where, content=_text_of(item.content))
        else:
            parts = [self._part(part, f"{where}.content.{place}", place) for place, part in enumerate(item.content)]
            self._turn(item.role, where, content=parts)

    def _check_pictures(self, content: str | Sequence[Part], where: str, role: str) -> None:
        for place, part in enumerate(() if isinstance(content, str) else content):
            if isinstance(part, InputImage):
                param = f"{where}.content.{place}"
                message = f"`{param}` may not be a picture: it is said by the role {role!r}, and pictures belong to the user."
                raise InvalidRequest(message, param=param)

    def _part(self, part: Part, where: str, place: int) -> dict[str, Any]:
        if not isinstance(part, InputImage):
            return {"type": "text", "text": _text_of([part])}
        self.origins[f"messages.{len(self.messages)}.content.{place}.image_url.url"] = f"{where}.image_url"
        detail = "high" if part.detail == "original" else part.detail
        return {"type": "image_url", "image_url": {"url": part.image_url, **({"detail": detail} if detail else {})}}

    def _call(self, call_id: str, name: str, arguments: str, where: str) -> None:
        self._called.add(call_id)
        calls = self._assistant(where).setdefault("tool_calls", [])
        turn = f"messages.{len(self.messages) - 1}.tool_calls.{len(calls)}"
        self.origins[turn] = where
        self.origins[f"{turn}.function"] = where
        self.origins[f"{turn}.id"] = f"{where}.call_id"
        calls.append({"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}})

    def _answer(self, item: CallOutput | CustomCallOutput, where: str) -> None:
        if item.call_id not in self._called:
            message = f"`{where}.call_id` is {item.call_id[:80]!r}: nobody made that call, here or in a previous response."
            raise InvalidRequest(message, param=f"{where}.call_id")
        parts = () if isinstance(item.output, str) else item.output
        pictures = [(f"{where}.output.{place}", part) for place, part in enumerate(parts) if isinstance(part, InputImage)]
        self._turn("tool", where, content=_text_of(item.output) or ("The picture follows." if pictures else ""), tool_call_id=item.call_id)
        self._pictures += pictures

    def _show_pictures(self) -> None:
        if self._pictures:
            where = self._pictures[0][0]
            parts = [self._part(picture, its, place) for place, (its, picture) in enumerate(self._pictures)]
            self._pictures = []
            self._turn("user", where, content=parts)


def _text_of(content: str | Sequence[Part]) -> str:
    if isinstance(content, str):
        return content
    return "".join(getattr(part, "text", "") or getattr(part, "refusal", "") for part in content)


def answered(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the turn that an answer is to those who go on from it. A call that broke off is nothing that could be answered."""
    calls = [call for call in message.get("tool_calls") or () if _is_object(call["function"]["arguments"])]
    turn = {"role": "assistant", "content": message["content"] or ""}
    if message.get("reasoning_content"):
        turn["reasoning_content"] = message["reasoning_content"]
    return turn | ({"tool_calls": calls} if calls else {})


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def with_instructions(instructions: str | None, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return *messages* after *instructions*, in one turn with what else system and developer say at the beginning."""
    first = [*takewhile(lambda message: message["role"] in _SYSTEM, messages)]
    texts = [*([instructions] if instructions else []), *(_plain(message["content"]) for message in first)]
    system = [{"role": "system", "content": _BREAK.join(texts)}] if texts else []
    return [*system, *(dict(message) for message in messages[len(first) :])]


def without_instructions(messages: Sequence[Mapping[str, Any]], instructions: str | None) -> list[dict[str, Any]]:
    """Return what *messages* are but for *instructions*."""
    if not instructions:
        return [dict(message) for message in messages]
    rest = str(messages[0]["content"])[len(instructions) :].removeprefix(_BREAK)
    return [*([{"role": "system", "content": rest}] if rest else []), *(dict(message) for message in messages[1:])]


def _plain(content: str | Sequence[Mapping[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
