"""What a response's request asks for in vain is a 400 that names the field as its caller did."""

from __future__ import annotations

from typing import Any

from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker
from tests.integration.test_responses import FILES, WEATHER

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "input"),
    ({"input": "x", "conversation": "conv_1"}, "conversation"),
    ({"input": "x", "truncation": "auto"}, "truncation"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0.type"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]}, "input.0.content.0.type"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]}, "input.0.content.0.file_id"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]}, "model"),
    ({"input": [{"type": "function_call_output", "call_id": "call_1", "output": "x"}]}, "input.0.call_id"),
    ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "[1]"}]}, "input.0.arguments"),
    ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": "\\ud800"}'}]}, "input.0.arguments"),
    ({"input": "x", "tools": [{"type": "web_search"}]}, "tools"),
    ({"input": "x", "tools": [WEATHER, {"type": "code_interpreter", "container": "auto"}]}, "tools.1.type"),
    ({"input": "x", "tools": [FILES | {"tools": [{"type": "function", "name": "a b"}]}]}, "tools.0.tools.0.name"),
    ({"input": "x", "tools": [WEATHER, WEATHER]}, "tools"),
    ({"input": "x", "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
    ({"input": "x", "text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
    ({"input": "x", "background": True, "store": False}, "store"),
    ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
    ({"input": "x", "top_k": -1}, "top_k"),
]


def test_what_cannot_be_had_is_refused_by_the_name_that_its_caller_gave_it(api: Api, worker: FakeWorker) -> None:
    for body, param in REFUSED:
        refused = api.http.post("/v1/responses", json=body)
        assert refused.status_code == 400, refused.text
        assert refused.json()["error"]["param"] == param, refused.text
    assert worker.store.list_jobs() == []
