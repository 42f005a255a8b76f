"""Whatever is sent as a response's request becomes a chat's, or is refused in a sentence that names a place in it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.responses.chats import chat_of
from app.api.responses.requests import ResponseRequest
from app.api.responses.tools import input_of
from app.api.validation import validated
from app.errors import InvalidRequest

TYPES = st.sampled_from([
    *("message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "reasoning"),
    *("input_text", "input_image", "function", "custom", "namespace", "web_search", "computer"),
])  # fmt: skip
NAMES = st.sampled_from(["type", "role", "content", "text", "output", "name", "tools", "summary", "user", "assistant", "developer"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NAMES | TYPES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
PART = st.fixed_dictionaries({"type": TYPES}, optional={"text": NAMES | JSON, "image_url": NAMES})
ITEM = st.fixed_dictionaries(
    {"type": TYPES, "role": NAMES, "content": NAMES | JSON | st.lists(PART, max_size=2)},
    optional={"output": NAMES | JSON, "call_id": NAMES, "name": NAMES, "arguments": st.just("{}") | JSON, "input": NAMES, "summary": JSON},
)
TOOL = st.fixed_dictionaries({"type": TYPES | JSON, "name": NAMES}, optional={"tools": JSON | st.just([{"type": "function", "name": "f"}])})
BODY = st.fixed_dictionaries(
    {"input": NAMES | JSON | st.lists(ITEM, max_size=3)},
    optional={"tools": JSON | st.lists(TOOL, max_size=2), "tool_choice": JSON, "text": JSON, "reasoning": JSON, "instructions": NAMES},
)


@given(BODY)
def test_any_request_is_a_chat_or_refused_where_it_is_wrong(body: dict[str, Any]) -> None:
    with suppress(InvalidRequest):
        chat = chat_of(validated(ResponseRequest, body), body, [])
        assert all(turn["role"] in {"user", "assistant", "system", "developer", "tool"} for turn in chat.body["messages"])
        return
    with pytest.raises(InvalidRequest) as refused:
        chat_of(validated(ResponseRequest, body), body, [])
    assert refused.value.message.endswith(".")
    assert len(refused.value.message) < 300
    at: Any = body
    for part in (refused.value.param or "").split(".")[:-1]:
        at = at[int(part)] if isinstance(at, list) else at[part]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input": "*** Begin"}', "*** Begin"),
        ('{"input": "*** Beg\\', "*** Beg"),
        ('{"input": "a\\ud83d', "a"),
        ('{"inp', ""),
        ("no JSON", "no JSON"),
    ],
)
def test_the_text_of_a_custom_tool_is_told_as_far_as_it_came(arguments: str, text: str) -> None:
    assert input_of(arguments) == text


def test_a_tool_of_a_namespace_may_be_chosen_by_its_own_name_where_there_is_one_of_it() -> None:
    read, other = ({"type": "namespace", "name": name, "tools": [{"type": "function", "name": "read"}]} for name in ("files", "books"))

    def chosen(tools: list[dict[str, Any]]) -> str:
        body = {"input": "x", "tools": tools, "tool_choice": {"type": "function", "name": "read"}}
        return str(chat_of(validated(ResponseRequest, body), body, []).body["tool_choice"]["function"]["name"])

    assert chosen([read]) == "files__read"
    assert chosen([read, {"type": "function", "name": "read"}]) == "read"
    assert chosen([read, other]) == "read", "which is then refused, and those that there are, named"
