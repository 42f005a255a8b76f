"""Anthropic's Messages API through Anthropic's own client."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import pytest
from PIL import Image
from pydantic import SecretStr

from app.api.services import Pace
from app.jobs.record import JobState, Lane
from app.settings import Settings
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
TOOLS: list[Any] = [
    {"name": "look", "description": "Look there.", "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}}}
]
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}


def client_of(api: Api, **options: Any) -> anthropic.Anthropic:  # noqa: ANN401 - the client's own
    return anthropic.Anthropic(
        **{
            "base_url": f"http://127.0.0.1:{api.port}",
            "api_key": "none",
            "max_retries": 0,
            "http_client": anthropic.DefaultHttpxClient(timeout=60, trust_env=False),
            **options,
        }
    )


@pytest.fixture
def claude(api: Api) -> Iterator[anthropic.Anthropic]:
    """Anthropic's client of the running API."""
    with client_of(api) as client:
        yield client


def png() -> str:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


@pytest.fixture
def api_settings(api_settings: Settings) -> Settings:
    """The usual models, of which the chat sees."""
    assert api_settings.catalog is not None
    text = api_settings.catalog.read_text().replace(
        'tasks = ["chat"]\naliases = ["little"]', 'tasks = ["chat", "vision"]\naliases = ["claude-tiny"]'
    )
    api_settings.catalog.write_text(text)
    return api_settings


def test_a_message_is_a_chat_whose_answer_is_told_in_anthropics_words(
    claude: anthropic.Anthropic, worker: FakeWorker, background: ThreadPoolExecutor
) -> None:
    create = claude.messages.with_raw_response.create
    call = background.submit(create, model="Claude-Tiny", max_tokens=50, system="Be kind.", messages=HELLO)
    job = worker.claim()
    assert (job.model, job.lane) == ("tiny-chat", Lane.INTERACTIVE)
    assert job.request["messages"] == [{"role": "system", "content": "Be kind."}, *HELLO]
    worker.finish_chat(job, "Hi you", reasoning="Hm.")
    response = call.result()
    message = response.parse()
    assert (message.id, message.model) == (f"msg_{job.id.removeprefix('job_')}", "tiny-chat")
    thought, said = message.content
    assert (thought.type, thought.type == "thinking" and thought.thinking) == ("thinking", "Hm.")
    assert (said.type, said.type == "text" and said.text) == ("text", "Hi you")
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens, message.usage.output_tokens) == (5, 2, 3)
    assert response.headers["x-job-id"] == job.id
    assert message._request_id == response.headers["x-request-id"]  # noqa: SLF001 - the client's documented name


def test_a_stream_is_blocks_of_thoughts_text_and_calls_and_its_sum_is_the_whole_answer(
    api: Api, claude: anthropic.Anthropic, worker: FakeWorker, background: ThreadPoolExecutor
) -> None:
    shown = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png()}}
    messages: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, shown]}]

    def read() -> tuple[list[Any], anthropic.types.Message]:
        with claude.messages.stream(model="chat", max_tokens=50, messages=messages, tools=TOOLS, thinking=THINKING) as stream:
            return list(stream), stream.get_final_message()

    call = background.submit(read)
    job = worker.claim()
    assert job.request["messages"][0]["content"][1]["type"] == "image"
    assert job.request["thinking_budget"] == 1024
    said: list[dict[str, Any]] = [
        {"reasoning": "Is it "},
        {"reasoning": "red?"},
        {"text": "A red 🎉"},
        {"text": "one."},
        {"calls": [(0, "look", "")]},
        {"calls": [(0, "", '{"at": "th'), (0, "", 'ere"}'), (1, "look", "{}")]},
    ]
    for piece in said:
        worker.say(job, **piece)
    calls = [piece for entry in said for piece in entry.get("calls", ())]
    worker.finish_chat(job, "A red 🎉one.", reasoning="Is it red?", calls=calls)
    events, final = call.result()
    assert [event.type for event in events if event.type.startswith(("message", "content_block_st"))] == [
        "message_start",
        *["content_block_start", "content_block_stop"] * 4,
        "message_delta",
        "message_stop",
    ]
    whole = api.http.get(f"/v1/jobs/{job.id}/output").json()["choices"][0]["message"]
    assert [block.to_dict() for block in final.content] == [
        {"type": "thinking", "thinking": "Is it red?", "signature": final.id},
        {"type": "text", "text": "A red 🎉one."},
        {"type": "tool_use", "id": whole["tool_calls"][0]["id"], "name": "look", "input": {"at": "there"}},
        {"type": "tool_use", "id": whole["tool_calls"][1]["id"], "name": "look", "input": {}},
    ]
    assert (final.stop_reason, final.usage.input_tokens, final.usage.output_tokens) == ("tool_use", 5, 3)


def test_an_asynchronous_client_calls_a_tool_and_gives_its_answer_back(
    api: Api, worker: FakeWorker, background: ThreadPoolExecutor
) -> None:
    async def converse() -> tuple[Any, Any]:
        async with anthropic.AsyncAnthropic(
            base_url=f"http://127.0.0.1:{api.port}", auth_token="none", http_client=anthropic.DefaultAsyncHttpxClient(trust_env=False)
        ) as claude:
            first = await claude.messages.create(model="chat", max_tokens=50, messages=HELLO, tools=TOOLS, tool_choice={"type": "any"})
            use = first.content[-1]
            assert use.type == "tool_use"
            result: Any = {"type": "tool_result", "tool_use_id": use.id, "content": "A door."}
            turns: list[Any] = [*HELLO, first.to_param(), {"role": "user", "content": [result]}]
            async with claude.messages.stream(model="chat", max_tokens=50, messages=turns, tools=TOOLS) as stream:
                words = [word async for word in stream.text_stream]
                return words, await stream.get_final_message()

    call = background.submit(lambda: asyncio.run(converse()))
    asked = worker.claim()
    assert asked.request["tool_choice"] == "required"
    worker.finish_chat(asked, "", reasoning="Hm.", calls=[(0, "look", '{"at": "there"}')])
    answered = worker.claim()
    made, result = answered.request["messages"][1:]
    assert (made["reasoning_content"], made["tool_calls"][0]["function"]["name"]) == ("Hm.", "look")
    assert json.loads(made["tool_calls"][0]["function"]["arguments"]) == {"at": "there"}
    assert result == {"role": "tool", "tool_call_id": made["tool_calls"][0]["id"], "content": "A door."}
    worker.say(answered, "A ")
    worker.say(answered, "door.")
    worker.finish_chat(answered, "A door.", reason="length")
    words, final = call.result()
    assert words == ["A ", "door."]
    assert final.stop_reason == "model_context_window_exceeded"  # of 50 tokens that were asked for, 3 came


def test_thoughts_that_nobody_wants_to_read_are_left_out(
    claude: anthropic.Anthropic, worker: FakeWorker, background: ThreadPoolExecutor
) -> None:
    quiet: Any = {"type": "adaptive", "display": "omitted"}

    def read() -> anthropic.types.Message:
        with claude.messages.stream(model="chat", max_tokens=50, messages=HELLO, thinking=quiet) as stream:
            return stream.get_final_message()

    call = background.submit(read)
    job = worker.claim()
    worker.say(job, reasoning="Secret")
    worker.finish_chat(job, "", reasoning="Secret")
    block = call.result().content[0]
    assert (block.type, block.type == "thinking" and block.thinking) == ("thinking", "")


def test_errors_raise_the_clients_own_exceptions_and_name_the_fields_that_it_sent(
    claude: anthropic.Anthropic, worker: FakeWorker, background: ThreadPoolExecutor
) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        claude.messages.create(model="claude-huge", max_tokens=50, messages=HELLO)
    assert unknown.value.type == "not_found_error"
    assert unknown.value.error_code == "model_not_found"
    assert unknown.value.request_id == unknown.value.response.headers["x-request-id"] == unknown.value.body["request_id"]  # type: ignore[index]
    search: Any = {"type": "web_search_20250305", "name": "web_search"}
    broken: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "bm9uZQ=="}}
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.0\.content\.0\.source\.data"):
        claude.messages.create(model="chat", max_tokens=50, system="x", messages=[{"role": "user", "content": [broken]}])
    with pytest.raises(anthropic.BadRequestError, match=r"`tools\.0\.type` is 'web_search_20250305'"):
        claude.messages.create(model="chat", max_tokens=50, messages=HELLO, tools=[search])
    call = background.submit(claude.messages.create, model="chat", max_tokens=50, messages=HELLO)
    worker.fail(worker.claim(), "context_length_exceeded", "The prompt has 9000 tokens.", "messages")
    with pytest.raises(anthropic.BadRequestError, match="messages: The prompt has 9000 tokens"):
        call.result()


def test_a_stream_pings_while_it_waits_and_tells_inside_why_it_broke_off(
    api_settings: Settings, start_api: Callable[..., Api], worker: FakeWorker, background: ThreadPoolExecutor
) -> None:
    api = start_api(api_settings, Pace(first_byte_s=0.0, keep_alive_s=0.02))
    body = {"model": "chat", "max_tokens": 5, "messages": HELLO, "stream": True}
    with api.http.stream("POST", "/v1/messages", json=body) as response:
        lines = response.iter_lines()
        for line in lines:
            if line == "event: ping":
                break
        assert next(lines) == 'data: {"type":"ping"}'
        job = worker.claim()
        worker.say(job, "Once")
        worker.fail(job, "engine_error", "The engine failed.")
        told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ") and "ping" not in line]
        assert [event["type"] for event in told] == ["message_start", "content_block_start", "content_block_delta", "error"]
        assert told[-1]["request_id"] == response.headers["request-id"]
    with client_of(api) as claude:
        stream = background.submit(claude.messages.create, model="chat", max_tokens=50, messages=HELLO, stream=True)
        job = worker.claim()
        worker.say(job, "Once")
        worker.fail(job, "engine_error", "The engine failed.")
        with pytest.raises(anthropic.APIError, match="The engine failed"):
            list(stream.result())


def test_the_key_may_come_as_anthropics_clients_send_it(api_settings: Settings, start_api: Callable[..., Api]) -> None:
    api = start_api(api_settings.model_copy(update={"api_key": SecretStr("ours")}))
    with client_of(api, api_key="theirs") as stranger, pytest.raises(anthropic.AuthenticationError) as refused:
        stranger.messages.create(model="nothing", max_tokens=5, messages=HELLO)
    assert refused.value.type == "authentication_error"
    for options in ({"api_key": "ours"}, {"api_key": None, "auth_token": "ours"}):
        with client_of(api, **options) as known, pytest.raises(anthropic.NotFoundError):
            known.messages.create(model="nothing", max_tokens=5, messages=HELLO)


def test_hanging_up_cancels_and_what_is_asked_to_go_on_does(api: Api, claude: anthropic.Anthropic, worker: FakeWorker) -> None:
    with claude.messages.with_streaming_response.create(
        model="chat", max_tokens=50, messages=HELLO, stream=True, extra_headers={"Prefer": "respond-async"}
    ) as receipt:
        assert (receipt.status_code, receipt.headers["preference-applied"]) == (202, "respond-async")
    kept = worker.claim()
    assert (receipt.headers["location"], kept.lane) == (f"/v1/jobs/{kept.id}", Lane.BATCH)
    body = {"model": "chat", "max_tokens": 5, "messages": HELLO, "stream": True, "service_tier": "flex"}
    with ThreadPoolExecutor(1) as threads:
        left = threads.submit(_first_line, api, body)
        job = worker.claim()
        worker.say(job, "Hi")
        assert left.result() == "event: message_start"
    worker.wait_for(job.id, JobState.CANCELED)
    assert (job.lane, worker.store.get(kept.id).state) == (Lane.BATCH, JobState.RUNNING)


def _first_line(api: Api, body: dict[str, Any]) -> str:
    with api.http.stream("POST", "/v1/messages", json=body) as response:
        return next(response.iter_lines())


def test_a_repeat_with_the_same_key_joins_the_job(claude: anthropic.Anthropic, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    def ask() -> anthropic.types.Message:
        return claude.messages.create(model="chat", max_tokens=50, messages=HELLO, extra_headers={"Idempotency-Key": "once"})

    calls = [background.submit(ask) for _ in range(2)]
    worker.finish_chat(worker.claim(), "Hi")
    assert len({call.result().id for call in calls}) == 1
    assert len(worker.store.list_jobs()) == 1


def test_tokens_are_counted_of_the_very_chat_that_would_be_answered(
    claude: anthropic.Anthropic, worker: FakeWorker, background: ThreadPoolExecutor
) -> None:
    prompt: dict[str, Any] = {"model": "chat", "system": "Be kind.", "messages": HELLO, "tools": TOOLS, "thinking": THINKING}
    count = background.submit(lambda: claude.messages.count_tokens(**prompt))
    counted = worker.claim()
    worker.store.commit(counted.id, counted.token, JobState.SUCCEEDED, output=b'{"input_tokens":12}')
    assert count.result().input_tokens == 12
    background.submit(lambda: claude.messages.create(max_tokens=50, **prompt))
    assert counted.request == {name: value for name, value in worker.claim().request.items() if not name.endswith("max_tokens")}
