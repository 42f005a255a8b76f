"""What Anthropic's requests become as chats, and what chats become as messages."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from app.api.anthropic.answers import message_of
from app.api.anthropic.requests import MessagesRequest
from app.api.anthropic.translation import Chat, chat_of
from app.api.validation import validated
from app.errors import Failure, InvalidRequest, JobFailed
from app.jobs.requests import ChatRequest

HELLO = {"role": "user", "content": "Hello"}
PIXEL = base64.b64encode(b"pixel").decode()
SOURCE = {"type": "base64", "media_type": "image/png", "data": PIXEL}
IMAGE = {"type": "image", "source": SOURCE}
SHOWN = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words, "cache_control": {"type": "ephemeral"}}


def user(*blocks: object) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def translated(**fields: object) -> Chat:
    chat = chat_of(validated(MessagesRequest, {"max_tokens": 50, "messages": [HELLO], **fields}))
    validated(ChatRequest, {name: value for name, value in chat.body.items() if name != "response_format"})  # a chat takes all of it
    return chat


def messages_of(*turns: dict[str, Any], **fields: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = translated(messages=list(turns), **fields).body["messages"]
    return found


def refused(**fields: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        translated(**fields)
    return error.value


def test_what_tunes_the_answer_has_a_chats_names() -> None:
    body = translated(
        model="chat",
        system=[text("Be brief."), text("Be kind.")],
        stop_sequences=["END"],
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        metadata={"user_id": "u1"},
        service_tier="standard_only",
        stream=True,
    ).body
    assert body == {
        "model": "chat",
        "messages": [{"role": "system", "content": "Be brief.\nBe kind."}, HELLO],
        "max_tokens": 50,
        "fit_max_tokens": True,
        "stop": ["END"],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "user": "u1",
        "stream": True,
        "service_tier": "default",
    }


@pytest.mark.parametrize(
    ("asked", "chat"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"enable_thinking": True, "thinking_budget": 2000}),
        ({"thinking": {"type": "adaptive"}}, {"enable_thinking": True}),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
            {"enable_thinking": True, "reasoning_effort": "xhigh"},
        ),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, {"enable_thinking": False}),
        ({"output_config": {"effort": "low"}}, {}),
    ],
)
def test_a_model_thinks_when_it_is_told_to_and_effort_alone_does_not_tell_it(asked: dict[str, Any], chat: dict[str, Any]) -> None:
    body = translated(**asked).body
    assert {name: value for name, value in body.items() if "think" in name or "effort" in name} == chat


@pytest.mark.parametrize(
    ("choice", "chat"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "look"}, {"type": "function", "function": {"name": "look"}}),
    ],
)
def test_tools_are_functions_and_a_choice_among_them_stays_one(choice: dict[str, Any], chat: object) -> None:
    schema = {"type": "object", "properties": {"at": {"type": "string"}}}
    tools = [{"name": "look", "description": "Look.", "input_schema": schema, "strict": True}]
    body = translated(tools=tools, tool_choice=choice).body
    assert body["tools"] == [
        {"type": "function", "function": {"name": "look", "description": "Look.", "parameters": schema, "strict": True}}
    ]
    assert body["tool_choice"] == chat
    assert "parallel_tool_calls" not in body
    one = translated(tools=tools, tool_choice={"type": "auto", "disable_parallel_tool_use": True}).body
    assert one["parallel_tool_calls"] is False


@pytest.mark.parametrize("where", ["output_config", "output_format"])
def test_a_schema_of_the_answer_is_a_chats_response_format(where: str) -> None:
    given = {"type": "json_schema", "schema": {"type": "object"}}
    chat = translated(**{where: {"format": given} if where == "output_config" else given})
    assert chat.body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
    }
    inside = "response_format.json_schema.schema.type"
    written = "output_config.format" if where == "output_config" else where
    with pytest.raises(InvalidRequest) as told, chat.told_as_sent():
        raise InvalidRequest(f"`{inside}` is odd.", param=inside)  # noqa: EM102, TRY003 - a chat's own words
    assert (told.value.param, told.value.message) == (f"{written}.schema.type", f"`{written}.schema.type` is odd.")


def test_turns_of_one_role_are_one_turn() -> None:
    answered = {"role": "assistant", "content": "Yes."}
    assert messages_of(HELLO, user(text("Are you"), text("there?")), answered, HELLO) == [
        {"role": "user", "content": "Hello\nAre you\nthere?"},
        answered,
        HELLO,
    ]


def test_a_system_turn_at_the_beginning_goes_on_with_the_system_prompt_and_a_later_one_with_the_user() -> None:
    system = {"role": "system", "content": [text("Mind the gap.")]}
    assert messages_of(system, HELLO, {"role": "assistant", "content": "Hi."}, system, HELLO, system="Be kind.") == [
        {"role": "system", "content": "Be kind.\nMind the gap."},
        HELLO,
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "<system>\nMind the gap.\n</system>\nHello"},
    ]


def test_thoughts_and_calls_go_back_as_the_model_made_them_and_results_come_before_the_rest() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    redacted = {"type": "redacted_thinking", "data": "x"}
    calls = [{"type": "tool_use", "id": f"call_{n}", "name": "look", "input": {"at": "ü"}} for n in (1, 2)]
    results: list[dict[str, Any]] = [
        {"type": "tool_result", "tool_use_id": "call_1", "content": [text("A"), IMAGE, text("B")]},
        {"type": "tool_result", "tool_use_id": "call_2", "content": "broken", "is_error": True},
    ]
    answered = {"role": "assistant", "content": [thought, redacted, text("Let me see."), *calls]}
    said, *others = messages_of(answered, user(text("So?"), *results))
    assert said["content"] == "Let me see."
    assert said["reasoning_content"] == "Hm."
    assert [call["id"] for call in said["tool_calls"]] == ["call_1", "call_2"]
    assert said["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at": "ü"}'}
    assert others == [
        {"role": "tool", "tool_call_id": "call_1", "content": "A\n[A picture, shown after the tools' results.]\nB"},
        {"role": "tool", "tool_call_id": "call_2", "content": "Error: broken"},
        {"role": "user", "content": [SHOWN, {"type": "text", "text": "So?"}]},
    ]


def test_documents_and_search_results_are_shown_as_their_text_and_pictures() -> None:
    plain = {"type": "document", "title": "T", "context": "C", "source": {"type": "text", "media_type": "text/plain", "data": "D"}}
    mixed = {"type": "document", "source": {"type": "content", "content": [text("before"), IMAGE, text("after")]}}
    found = {"type": "search_result", "source": "S", "title": "T", "content": [text("found")]}
    assert messages_of(user(plain, mixed, found))[0]["content"] == [
        {"type": "text", "text": "T\nC\nD\nbefore"},
        SHOWN,
        {"type": "text", "text": "after\nT\nS\nfound"},
    ]


def test_what_a_chat_says_of_a_picture_is_told_of_the_block_that_the_caller_wrote() -> None:
    result = {"type": "tool_result", "tool_use_id": "c", "content": [text("x"), IMAGE]}
    document = {"type": "document", "source": {"type": "content", "content": [IMAGE]}}
    by_url = {"type": "image", "source": {"type": "url", "url": "http://localhost/a.png"}}
    chat = translated(system="s", messages=[HELLO, user(text("a"), result, by_url, document)])
    pictures = [
        (f"messages.{number}.content.{place}.image_url.url")
        for number, message in enumerate(chat.body["messages"])
        for place, part in enumerate(message["content"])
        if isinstance(part, dict) and part["type"] == "image_url"
    ]
    written = [chat.origins[path] for path in pictures]
    assert written == [
        "messages.1.content.1.content.1.source.data",
        "messages.1.content.2.source.url",
        "messages.1.content.3.source.content.0.source.data",
    ]
    with pytest.raises(JobFailed) as told, chat.told_as_sent():
        raise JobFailed(Failure(code="unreadable_image", message="No.", param=pictures[1]))
    assert told.value.as_fact() == Failure(code="unreadable_image", message="No.", param=written[1])


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"messages": [user({"type": "video"})]}, "messages.0.content.0.type", "'video'"),
        ({"messages": [user(text("x"), {"type": "tool_use"})]}, "messages.0.content.1.type", "'tool_use'"),
        ({"messages": [user({"type": "text"})]}, "messages.0.content.0.text", "is required"),
        (
            {"messages": [user({"type": "image", "source": {"type": "file", "file_id": "f"}})]},
            "messages.0.content.0.source.type",
            "base64, url",
        ),
        (
            {"messages": [user({"type": "image", "source": {**SOURCE, "media_type": "text/plain"}})]},
            "messages.0.content.0.source.media_type",
            "'text/plain'",
        ),
        (
            {"messages": [user({"type": "document", "source": {"type": "base64", "media_type": "application/pdf"}})]},
            "messages.0.content.0.source",
            "/v1/ocr",
        ),
        (
            {"messages": [user({"type": "tool_result", "tool_use_id": "x", "content": [{"type": "tool_reference"}]})]},
            "messages.0.content.0.content.0.type",
            "'tool_reference'",
        ),
        ({"messages": [HELLO, {"role": "assistant", "content": "I"}]}, "messages.1.role", "not gone on with"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0", "'tool'"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0.type", "'web_search_20250305'"),
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers", "not supported"),
        ({"max_tokens": 0}, "max_tokens", "at least 1"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens", "is required"),
    ],
)
def test_what_cannot_be_had_is_refused_by_the_name_that_it_has_in_the_request(fields: dict[str, Any], param: str, words: str) -> None:
    error = refused(**fields)
    assert error.param == param
    assert words in error.message


def test_a_call_that_the_answers_end_cut_off_has_the_input_that_came() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "home", "how": "clo'}}
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    choice = {"message": {"content": None, "reasoning_content": "Hm.", "tool_calls": [call]}, "finish_reason": "length"}
    message = message_of({"id": "chatcmpl-1", "model": "m", "choices": [choice], "usage": usage}, max_tokens=3, shows_thinking=False)
    assert message == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [
            {"type": "thinking", "thinking": "", "signature": "msg_1"},
            {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "home"}},
        ],
        "stop_reason": "max_tokens",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 5,
            "cache_read_input_tokens": 2,
            "cache_creation_input_tokens": 0,
            "output_tokens": 3,
            "output_tokens_details": {"thinking_tokens": 1},
        },
    }


def test_a_stop_string_that_ended_the_answer_is_told() -> None:
    usage = {
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    choice = {"message": {"content": "a"}, "finish_reason": "stop", "stop_reason": "END"}
    message = message_of({"id": "chatcmpl-1", "model": "m", "choices": [choice], "usage": usage}, max_tokens=3, shows_thinking=True)
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")
