"""Responses through the official client: whole, streamed, with tools, and refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pydantic
import pytest
from openai.types.responses import Response

from app.api.services import Pace
from app.jobs.record import JobState, Lane
from app.settings import Settings
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker
from tests.integration.openai_shapes import response, response_events

WEATHER: Any = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {"town": {"type": "string"}}}}
PATCH: Any = {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}}
FILES: Any = {"type": "namespace", "name": "files", "description": "Files.", "tools": [{"type": "function", "name": "read"}]}


def test_a_response_is_a_chat_whose_output_is_told_in_items(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(
        response,
        api.http,
        input=[
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
        ],
        instructions="Be brief.",
        max_output_tokens=9,
        temperature=0,
        reasoning={"effort": "low"},
        metadata={"a": "b"},
        seed=5,
    )
    job = worker.claim()
    assert (job.model, job.lane) == ("tiny-chat", Lane.INTERACTIVE)
    asked = {name: value for name, value in job.request.items() if name != "responses"}
    assert asked == {
        "messages": [
            {"role": "system", "content": "Be brief.\n\nBe kind."},
            {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        ],
        "max_completion_tokens": 9,
        "temperature": 0.0,
        "reasoning_effort": "low",
        "seed": 5,
    }
    worker.finish_chat(job, "Hi you", reasoning="Hm.")
    made: Response = call.result()
    assert (made.status, made.output_text, made.instructions, made.metadata) == ("completed", "Hi you", "Be brief.", {"a": "b"})
    assert [item.type for item in made.output] == ["reasoning", "message"]
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.input_tokens_details.cached_tokens, made.usage.total_tokens) == (7, 2, 10)
    assert made.usage.output_tokens_details.reasoning_tokens == 1
    assert made.id == job.id.replace("job_", "resp_")
    assert made == api.openai.responses.retrieve(made.id)


def test_an_answer_that_broke_off_is_incomplete(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(api.openai.responses.create, input="Hello", max_output_tokens=3)
    worker.finish_chat(worker.claim(), "Once upon a", reason="length")
    made = call.result()
    assert made.status == "incomplete"
    assert made.incomplete_details is not None
    assert made.incomplete_details.reason == "max_output_tokens"


def test_every_event_parses_and_the_deltas_join_to_the_final_response(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(response_events, api.http, input="Hello", tools=[WEATHER, PATCH, FILES])
    job = worker.claim()
    worker.say(job, reasoning="Let me ")
    worker.say(job, reasoning="see.", text="I look ")
    worker.say(job, "outside.", calls=[(0, "weather", "")])
    worker.say(job, calls=[(0, "", '{"town":'), (0, "", '"Rome"}'), (1, "apply_patch", '{"input": "*** Beg')])
    worker.say(job, calls=[(1, "", 'in"}'), (2, "files__read", "{}")])
    calls = [(0, "weather", '{"town":"Rome"}'), (1, "apply_patch", '{"input": "*** Begin"}'), (2, "files__read", "{}")]
    worker.finish_chat(job, "I look outside.", reasoning="Let me see.", calls=calls)
    events: list[Any] = call.result()
    assert [event.sequence_number for event in events] == [*range(len(events))]
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    final = events[-1].response
    assert (events[-1].type, final.status) == ("response.completed", "completed")
    told: dict[tuple[str, int], str] = {}
    for event in events:
        if event.type.endswith(".delta"):
            told[event.type, event.output_index] = told.get((event.type, event.output_index), "") + event.delta
    thought, said, weather, patch, read = final.output
    assert told == {
        ("response.reasoning_text.delta", 0): thought.content[0].text,
        ("response.output_text.delta", 1): said.content[0].text,
        ("response.function_call_arguments.delta", 2): weather.arguments,
        ("response.custom_tool_call_input.delta", 3): patch.input,
        ("response.function_call_arguments.delta", 4): read.arguments,
    }
    assert [event.item for event in events if event.type == "response.output_item.done"] == final.output
    assert (patch.name, patch.input) == ("apply_patch", "*** Begin")
    assert (read.namespace, read.name) == ("files", "read")
    fetched = api.openai.responses.retrieve(final.id)
    assert fetched == Response.model_validate(final.model_dump(exclude_unset=True))
    assert [tool.type for tool in fetched.tools] == ["function", "custom", "namespace"]


def test_the_clients_own_stream_puts_the_response_together(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    def ask() -> tuple[list[str], Response]:
        with api.openai.responses.stream(model="chat", input="Hello") as stream:
            texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
            return texts, stream.get_final_response()

    call = background.submit(ask)
    job = worker.claim()
    worker.say(job, "Grü")
    worker.say(job, "ße")
    worker.finish_chat(job, "Grüße")
    texts, final = call.result()
    assert (texts, final.output_text) == (["Grü", "ße"], "Grüße")


def test_the_asynchronous_client_is_served_alike(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    async def ask() -> tuple[str, str]:
        url = f"http://127.0.0.1:{api.port}/v1"
        http = openai.DefaultAsyncHttpxClient(trust_env=False)
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, http_client=http) as client:
            whole = await client.responses.create(input="Hello")
            streamed = [event async for event in await client.responses.create(input="Hello", stream=True)]
            return whole.output_text, streamed[-1].response.output_text  # type: ignore[union-attr]

    call = background.submit(lambda: asyncio.run(ask()))
    worker.finish_chat(worker.claim(), "Hi")
    worker.finish_chat(worker.claim(), "Ho")
    assert call.result() == ("Hi", "Ho")


def test_a_tool_is_called_and_its_output_goes_back(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    choice: Any = {"type": "function", "name": "weather"}
    call = background.submit(api.openai.responses.create, input="Weather?", tools=[WEATHER], tool_choice=choice)
    job = worker.claim()
    function = {"type": "function", "function": {"name": "weather", "parameters": WEATHER["parameters"]}}
    assert job.request["tools"] == [function]
    assert job.request["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    worker.finish_chat(job, "", reasoning="Ask.", calls=[(0, "weather", '{"town": "Rome"}')])
    first = call.result()
    assert first.output[-1].type == "function_call"
    assert (first.tool_choice.name, first.tools[0].type) == ("weather", "function")  # type: ignore[union-attr]
    called = first.output[-1].call_id
    output = {"type": "function_call_output", "call_id": called, "output": "Rain."}

    again: list[Any] = [{"role": "user", "content": "Weather?"}, *(item.model_dump() for item in first.output), output]
    stateless = background.submit(api.openai.responses.create, input=again, store=False)
    by_hand = worker.claim()
    worker.finish_chat(by_hand, "It rains.")
    answered: Any = [output]
    stateful = background.submit(api.openai.responses.create, input=answered, previous_response_id=first.id)
    by_id = worker.claim()
    worker.finish_chat(by_id, "It rains.")
    assert by_hand.request["messages"] == by_id.request["messages"]
    assert [turn["role"] for turn in by_id.request["messages"]] == ["user", "assistant", "tool"]
    assert by_id.request["messages"][1]["reasoning_content"] == "Ask."
    assert stateless.result().output_text == stateful.result().output_text == "It rains."


def test_parse_gives_an_object_of_the_callers_own_type(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    class Town(pydantic.BaseModel):
        name: str
        people: int

    call = background.submit(api.openai.responses.parse, input="Rome?", text_format=Town)
    job = worker.claim()
    asked = job.request["response_format"]
    assert (asked["type"], asked["json_schema"]["name"]) == ("json_schema", "Town")
    assert set(asked["json_schema"]["schema"]["properties"]) == {"name", "people"}
    worker.finish_chat(job, '{"name": "Rome", "people": 2750000}')
    parsed = call.result()
    assert parsed.output_parsed == Town(name="Rome", people=2_750_000)
    assert parsed.text is not None
    assert parsed.text.format is not None
    assert parsed.text.format.type == "json_schema"


def test_likelihoods_come_where_they_are_asked_for(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(response_events, api.http, input="Hi", include=["message.output_text.logprobs"], top_logprobs=1)
    job = worker.claim()
    assert (job.request["logprobs"], job.request["top_logprobs"]) == (True, 1)
    worker.say(job, logprobs=[(b"", -0.5, ((b"", -0.5),))])  # of a token without text
    worker.say(job, "Hi", logprobs=[(b"Hi", -0.25, ((b"Ho", -1.5),))])
    worker.finish_chat(job, "Hi")
    events: list[Any] = call.result()
    first, token = events[-1].response.output[0].content[0].logprobs
    assert (first.token, first.logprob) == ("", -0.5)
    assert (token.token, token.logprob, token.top_logprobs[0].token) == ("Hi", -0.25, "Ho")
    assert next(event for event in events if event.type == "response.output_text.delta").logprobs[1].logprob == -0.25


def test_what_is_said_after_a_thought_has_no_likelihoods_of_the_thoughts_tokens(
    api: Api, worker: FakeWorker, background: ThreadPoolExecutor
) -> None:
    call = background.submit(response_events, api.http, input="Hi", include=["message.output_text.logprobs"], top_logprobs=1)
    job = worker.claim()
    worker.say(job, reasoning="Hm", text="Hi", logprobs=[(b"Hm", -0.5, ()), (b"Hi", -0.25, ())])
    worker.finish_chat(job, "Hi", reasoning="Hm")
    events: list[Any] = call.result()
    final = events[-1].response
    assert final.output[1].content[0].logprobs == []
    assert api.openai.responses.retrieve(final.id) == Response.model_validate(final.model_dump(exclude_unset=True))


def test_the_stream_of_a_rescued_job_goes_on_without_repeats(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(response_events, api.http, input="Hello")
    first = worker.claim()
    worker.say(first, "one ")
    worker.die(first)
    second = worker.claim()
    worker.say(second, "two")
    worker.finish_chat(second, "one two")
    events: list[Any] = call.result()
    assert [event.delta for event in events if event.type == "response.output_text.delta"] == ["one ", "two"]
    assert events[-1].response.output_text == "one two"


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_before_the_first_word_has_its_own_status_and_names_our_field(
    api: Api, worker: FakeWorker, background: ThreadPoolExecutor, *, stream: bool
) -> None:
    call = background.submit(api.openai.responses.create, input="Hello", stream=stream)
    worker.fail(worker.claim(), "context_length_exceeded", "`messages` is too long.", "messages")
    with pytest.raises(openai.BadRequestError) as refused:
        call.result()
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input")
    assert "`input` is too long." in refused.value.message


def test_a_failure_after_the_first_word_is_an_event(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(response_events, api.http, input="Hello")
    job = worker.claim()
    worker.say(job, "Once")
    worker.fail(job, "engine_error", "The engine failed.")
    last: Any = call.result()[-1]
    assert (last.type, last.response.status, last.response.error.code) == ("response.failed", "failed", "server_error")
    assert last.response.output[0].content[0].text == "Once"
    assert api.openai.responses.retrieve(last.response.id).status == "failed"


@pytest.mark.parametrize("stream", [False, True])
def test_hanging_up_cancels_what_somebody_waited_on(api: Api, worker: FakeWorker, *, stream: bool) -> None:
    with httpx.Client(base_url=api.http.base_url, trust_env=False) as client, ThreadPoolExecutor(1) as threads:
        call = threads.submit(client.post, "/v1/responses", json={"input": "Hello", "stream": stream}, timeout=0.5)
        job = worker.claim()
        with pytest.raises(httpx.ReadTimeout):
            call.result()
    worker.wait_for(job.id, JobState.CANCELED)
    assert api.openai.responses.retrieve(job.id.replace("job_", "resp_")).status == "cancelled"


def test_a_stream_that_waits_says_so_in_comments_after_its_first_event(
    api_settings: Settings, start_api: Callable[..., Api], worker: FakeWorker
) -> None:
    api = start_api(api_settings, Pace(first_byte_s=0.01, keep_alive_s=0.01))
    with api.http.stream("POST", "/v1/responses", json={"input": "Hello", "stream": True}) as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert next(lines) == "event: response.created"
        assert next(line for line in lines if line.startswith(":")).startswith(": waiting position=0 reason=no_worker")
        job = worker.claim()
        worker.finish_chat(job, "Hi")
        assert json.loads([*lines][-1].removeprefix("data: "))["type"] == "response.completed"


def test_tools_that_nobody_runs_here_are_left_out_and_named(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    tools = [{"type": "web_search", "external_web_access": False}, WEATHER]
    call = background.submit(api.http.post, "/v1/responses", json={"input": "Hello", "tools": tools})
    job = worker.claim()
    assert [tool["function"]["name"] for tool in job.request["tools"]] == ["weather"]
    worker.finish_chat(job, "Hi")
    answer = call.result()
    assert answer.headers["x-tools-left-out"] == "web_search"
    assert [tool["type"] for tool in answer.json()["tools"]] == ["function"]
