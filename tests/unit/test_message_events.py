"""Every event of a streamed message, and the whole message, held against the types of Anthropic's own client."""

from __future__ import annotations

import json
from typing import Any

from anthropic.types import Message, RawMessageStreamEvent
from pydantic import BaseModel, TypeAdapter

from app.api.anthropic.answers import message_of
from app.api.anthropic.events import MessageEvents
from app.jobs.calls import CallDelta, tool_calls
from app.jobs.record import completion_id
from app.jobs.streams import StreamEntry

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
JOB = "job_1"


def entry(text: str = "", reasoning: str = "", calls: tuple[CallDelta, ...] = ()) -> StreamEntry:
    return StreamEntry(id="1-0", type="tokens", attempt=1, text=text, reasoning=reasoning, calls=calls)


def completion(text: str, reasoning: str, calls: tuple[CallDelta, ...], reason: str) -> dict[str, Any]:
    message = {"content": text, "reasoning_content": reasoning, "tool_calls": tool_calls(JOB, 0, calls)}
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    return {"id": completion_id(JOB), "model": "m", "choices": [{"message": message, "finish_reason": reason}], "usage": usage}


def checked(frames: list[bytes]) -> list[Any]:
    """Return the events, after a look at each: its name, its type, and no field that the client does not know."""
    found = []
    for frame in frames:
        name, data = frame.decode().rstrip("\n").split("\n")
        event = EVENT.validate_json(data.removeprefix("data: "), strict=True)
        assert name == f"event: {event.type}"
        refuse_extras(event)
        found.append(event)
    return found


def refuse_extras(value: object) -> None:
    for inner in value if isinstance(value, list) else []:
        refuse_extras(inner)
    if isinstance(value, BaseModel):
        assert not value.model_extra, value
        for name in type(value).model_fields:
            refuse_extras(getattr(value, name))


def test_the_events_of_a_message_and_the_whole_of_it_say_the_same() -> None:
    pieces = [
        entry(reasoning="Is it "),
        entry(reasoning="so?", text="It "),
        entry(text="is.", calls=((0, "look", ""),)),
        entry(calls=((0, "", '{"at": '), (0, "", '"home"}'), (1, "wait", ""))),
    ]
    calls = tuple(call for piece in pieces for call in piece.calls)
    whole = completion("It is.", "Is it so?", calls, "tool_calls")
    events = MessageEvents(JOB, "m", max_tokens=50, shows_thinking=True)
    told = checked([*(frame for piece in pieces for frame in events.pieces(piece)), *events.finish(whole)])
    blocks: list[dict[str, Any]] = []
    arguments: dict[int, str] = {}
    for event in told:
        if event.type == "content_block_start":
            assert event.index == len(blocks)
            blocks.append(event.content_block.model_dump(exclude_unset=True))
        elif event.type == "content_block_delta":
            delta = event.delta
            if delta.type == "input_json_delta":
                arguments[event.index] = arguments.get(event.index, "") + delta.partial_json
            else:
                name = delta.type.removesuffix("_delta")
                blocks[event.index][name] += getattr(delta, name)
    for index, text in arguments.items():
        blocks[index]["input"] = json.loads(text)
    message = message_of(whole, max_tokens=50, shows_thinking=True)
    refuse_extras(Message.model_validate_json(json.dumps(message), strict=True))
    assert blocks == message["content"]
    assert [block["type"] for block in blocks] == ["thinking", "text", "tool_use", "tool_use"]
    assert (told[0].message.id, told[-2].delta.stop_reason) == (message["id"], message["stop_reason"])
    assert told[-2].usage.model_dump(exclude_unset=True) == message["usage"]


def test_an_answer_without_a_word_is_a_message_without_a_block() -> None:
    empty = completion("", "", (), "stop")
    told = checked(list(MessageEvents(JOB, "m", max_tokens=50, shows_thinking=True).finish(empty)))
    assert [event.type for event in told] == ["message_start", "message_delta", "message_stop"]
    assert message_of(empty, max_tokens=50, shows_thinking=True)["content"] == []
