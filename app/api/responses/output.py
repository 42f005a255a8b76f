"""The output of a response: its items, whole, and what they are counted by. Pure.

Ids are made of the job's, so that every reader, and every attempt, says the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.api.responses.tools import Offered, input_of

__all__ = [
    "call_item",
    "item_id",
    "likely_of",
    "logprobs_of",
    "message_item",
    "output_of_chat",
    "reasoning_item",
    "response_id",
    "text_part",
    "usage_of",
]

_JOB = "job_"


def response_id(job_id: str) -> str:
    """Return the id of the response that a job is."""
    return f"resp_{job_id.removeprefix(_JOB)}"


def item_id(kind: str, job_id: str, number: int = 0, *, always: bool = False) -> str:
    """Return the id of an item.

    Args:
        kind: ``msg``, ``rs``, ``fc`` or ``ctc``.
        job_id: Whose item it is.
        number: How many of this kind came before.
        always: Say the number of the first, too.
    """
    return f"{kind}_{job_id.removeprefix(_JOB)}" + (f"_{number}" if number or always else "")


def text_part(text: str, logprobs: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return what was said as the part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": [*logprobs]}


def message_item(ident: str, parts: Sequence[Mapping[str, Any]], status: str) -> dict[str, Any]:
    """Return what the assistant says."""
    return {"id": ident, "type": "message", "status": status, "role": "assistant", "content": [*parts]}


def reasoning_item(ident: str, thought: str | None, status: str) -> dict[str, Any]:
    """Return what the model thinks; None: nothing yet."""
    content = [] if thought is None else [{"type": "reasoning_text", "text": thought}]
    return {"id": ident, "type": "reasoning", "summary": [], "content": content, "status": status}


def call_item(job_id: str, number: int, call_id: str, tool: Offered, arguments: str, status: str) -> dict[str, Any]:
    """Return a call of a tool, in the words of who offered it."""
    named: dict[str, Any] = {"call_id": call_id, "name": tool.name, **({"namespace": tool.namespace} if tool.namespace else {})}
    if tool.kind == "custom":
        ident = item_id("ctc", job_id, number, always=True)
        return {"id": ident, "type": "custom_tool_call", **named, "input": input_of(arguments) if arguments else ""}
    ident = item_id("fc", job_id, number, always=True)
    return {"id": ident, "type": "function_call", "status": status, **named, "arguments": arguments}


def output_of_chat(job_id: str, choice: Mapping[str, Any], tools: Mapping[str, Offered]) -> list[dict[str, Any]]:
    """Return the items of a chat's answer.

    Args:
        job_id: Of the chat.
        choice: Its only one.
        tools: The chat's name of each -> the caller's.
    """
    message = choice["message"]
    items: list[dict[str, Any]] = []
    if message.get("reasoning_content"):
        items.append(reasoning_item(item_id("rs", job_id), message["reasoning_content"], "completed"))
    calls = message.get("tool_calls") or ()
    if message["content"] or not (items or calls):
        part = text_part(message["content"] or "", likely_of(choice))
        items.append(message_item(item_id("msg", job_id), [part], "completed"))
    for number, call in enumerate(calls):
        function = call["function"]
        tool = tools.get(function["name"], Offered("function", function["name"]))
        items.append(call_item(job_id, number, call["id"], tool, function["arguments"], "completed"))
    if choice["finish_reason"] == "length" and "status" in items[-1]:
        items[-1]["status"] = "incomplete"
    return items


def likely_of(choice: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the likelihoods of what was said; none beside thoughts or calls, since a chat has those of all its tokens in one list."""
    message = choice["message"]
    other = message.get("reasoning_content") or message.get("tool_calls")
    return [] if other else logprobs_of((choice["logprobs"] or {}).get("content") or ())


def logprobs_of(chat: Sequence[Mapping[str, Any]], *, streamed: bool = False) -> list[dict[str, Any]]:
    """Return likelihoods as responses have them; streamed ones are without bytes."""

    def shown(token: Mapping[str, Any]) -> dict[str, Any]:
        return {name: token[name] for name in ("token", "logprob", *(() if streamed else ("bytes",)))}

    return [{**shown(token), "top_logprobs": [shown(other) for other in token["top_logprobs"]]} for token in chat]


def usage_of(chat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts of a chat under their names in a response."""
    return {
        "input_tokens": chat["prompt_tokens"],
        # What goes into the cache costs nothing here and is not counted.
        "input_tokens_details": {"cached_tokens": chat["prompt_tokens_details"]["cached_tokens"], "cache_write_tokens": 0},
        "output_tokens": chat["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": chat["completion_tokens_details"]["reasoning_tokens"]},
        "total_tokens": chat["total_tokens"],
    }
