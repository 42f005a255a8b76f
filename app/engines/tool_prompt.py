"""Tools for models whose chat template knows none, or none that can be enforced: told in words, called in tags. Pure.

The convention is Hermes's, which Qwen made common: tools as JSON in the system's
turn, a call as JSON within ``<tool_call>`` tags, an answer within
``<tool_response>`` tags in the user's turn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["told_in_words"]

_WORDS = """You can call functions. These are the ones there are, one JSON description in each line:
<tools>
{tools}
</tools>
To call one, write its name and its arguments as JSON between tags, like this:
<tool_call>
{{"name": "the function's name", "arguments": {{"the argument's name": "its value"}}}}
</tool_call>
What the function answers comes between <tool_response> tags. Call a function only when it helps to answer."""

_Messages = Sequence[Mapping[str, Any]]


def told_in_words(messages: _Messages, tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return *messages* with the tools in the system's turn, and calls and their answers as text.

    Args:
        messages: As a chat template takes them: arguments of calls are objects.
        tools: As OpenAI writes them; none: only what was called before is told.
    """
    told: list[dict[str, Any]] = []
    for message in messages:
        turn = _turn(message)
        if told and message["role"] == "tool" and told[-1]["role"] == "user" and isinstance(told[-1]["content"], str):
            # Many templates want the turns to alternate: answers of several calls are one turn.
            told[-1] = {**told[-1], "content": f"{told[-1]['content']}\n{turn['content']}"}
        else:
            told.append(turn)
    return _with_tools(told, tools) if tools else told


def _turn(message: Mapping[str, Any]) -> dict[str, Any]:
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    turn = {name: value for name, value in message.items() if name != "tool_calls"}
    if calls := message.get("tool_calls"):
        turn["content"] = "\n".join([*([turn["content"]] if turn["content"] else []), *map(_call, calls)])
    return turn


def _call(call: Mapping[str, Any]) -> str:
    function = call["function"]
    text = json.dumps({"name": function["name"], "arguments": function["arguments"]}, ensure_ascii=False)
    return f"<tool_call>\n{text}\n</tool_call>"


def _with_tools(messages: list[dict[str, Any]], tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    words = _WORDS.format(tools="\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools))
    if messages and messages[0]["role"] == "system" and isinstance(messages[0]["content"], str):
        return [{**messages[0], "content": f"{messages[0]['content']}\n\n{words}"}, *messages[1:]]
    return [{"role": "system", "content": words}, *messages]
