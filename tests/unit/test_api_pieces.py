"""The parts of the API that need neither Redis nor a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from app.api.access import is_local_name, is_local_origin
from app.api.body import parse_json
from app.api.chunks import ChatChunks, Envelope
from app.api.errors import STATUS, ClientHungUp, ServerStopping
from app.api.hang_up import while_wanted
from app.api.jobs import JobSubmission
from app.api.prefer import Preference, parse_prefer
from app.api.request_log import RequestLogMiddleware
from app.api.sse import with_pauses
from app.api.validation import validated
from app.errors import InferenceError, InvalidRequest
from app.jobs.record import JobKind
from app.jobs.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from app.jobs.streams import StreamEntry
from app.jobs.tally import Tally

# Few words, so that generated bodies meet the fields of the models.
WORDS = st.sampled_from(
    ["messages", "role", "user", "content", "type", "text", "input", "prompt", "stop", "kind", "request", "lane", "model", "str"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
CHATS = st.fixed_dictionaries(
    {"messages": st.lists(st.fixed_dictionaries({"role": WORDS, "content": JSON}), max_size=3)}, optional={"stop": JSON}
)


@pytest.mark.parametrize("model", [ChatRequest, CompletionRequest, EmbeddingRequest, JobSubmission])
@given(
    body=JSON
    | CHATS
    | st.fixed_dictionaries({"input": JSON})
    | st.fixed_dictionaries({"prompt": JSON, "logit_bias": JSON})
    | st.fixed_dictionaries({"kind": JSON, "request": JSON})
)
def test_any_json_is_taken_or_refused_in_a_sentence_that_names_a_place_in_it(model: type[BaseModel], body: Any) -> None:  # noqa: ANN401
    with suppress(InvalidRequest):
        validated(model, body)
        return
    with pytest.raises(InvalidRequest) as refused:
        validated(model, body)
    assert refused.value.message.endswith(".")
    assert len(refused.value.message) < 300
    at = body
    for part in (refused.value.param or "").split(".")[:-1]:
        at = at[int(part)] if isinstance(at, list) else at[part]


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_json_that_can_be_written_again_or_refused(raw: bytes) -> None:
    with suppress(InvalidRequest):
        json.dumps(parse_json(raw), ensure_ascii=False).encode()
        return
    with pytest.raises(InvalidRequest, match=r"line \d+ column \d+"):
        parse_json(raw)


@pytest.mark.parametrize(
    ("headers", "preference"),
    [
        ([], Preference()),
        (["respond-async"], Preference(respond_async=True)),
        (["Respond-Async, wait=10"], Preference(respond_async=True, wait_s=10)),
        (["wait=10; x=y", "respond-async"], Preference(respond_async=True, wait_s=10)),
        (['wait="5"', "wait=7"], Preference(wait_s=5)),
        (["wait", "wait=-1"], Preference()),
        (["wait=1.5, return=minimal"], Preference()),
        (["wait=" + "9" * 19], Preference(wait_s=86400)),
        (["wait=" + "9" * 5000], Preference()),
        (["wait=٣"], Preference()),
    ],
)
def test_preferences_are_read_as_the_rfc_says(headers: list[str], preference: Preference) -> None:
    assert parse_prefer(headers) == preference


@pytest.mark.parametrize(
    ("preference", "waits"),
    [
        (Preference(), True),
        (Preference(respond_async=True), False),
        (Preference(respond_async=True, wait_s=5), True),
        (Preference(wait_s=0), False),
    ],
)
def test_only_some_preferences_wait(preference: Preference, *, waits: bool) -> None:
    assert preference.waits is waits


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "192.168.1.7", "::1", "host.docker.internal"])
def test_addresses_and_reserved_names_are_local(host: str) -> None:
    assert is_local_name(host)


@pytest.mark.parametrize("host", ["", "example.com", "localhost.example.com", "internal", "127.0.0.1.nip.io", "mylocalhost"])
def test_names_that_public_dns_answers_for_are_not_local(host: str) -> None:
    assert not is_local_name(host)
    assert not is_local_origin(f"https://{host}")


@pytest.mark.parametrize("origin", ["", "null", "nonsense", "http://[::1"])
def test_an_origin_without_a_scheme_or_a_host_is_foreign(origin: str) -> None:
    assert not is_local_origin(origin)


def test_every_error_has_a_status() -> None:
    def all_codes(kind: type[InferenceError]) -> set[str]:
        ours = [child for child in kind.__subclasses__() if child.__module__.startswith("app.")]
        return {kind.code}.union(*map(all_codes, ours))

    # Raised where no request is: settings stop a start, and a failed job tells its own failure.
    assert all_codes(InferenceError) - set(STATUS) <= {"invalid_setting", "job_failed"}


async def collected(stream: AsyncIterator[object]) -> list[object]:
    return [item async for item in stream]


def test_pauses_stand_between_entries_and_lose_none() -> None:
    async def entries(go_on: asyncio.Event) -> AsyncIterator[int]:
        yield 1
        await go_on.wait()
        yield 2

    async def read() -> list[object]:
        go_on = asyncio.Event()
        found: list[object] = []
        async for item in with_pauses(entries(go_on), first_s=60, then_s=0.001):
            found.append(item)
            if found.count(None) == 3:
                go_on.set()
        return found

    assert asyncio.run(read())[:4] == [1, None, None, None]
    assert [item for item in asyncio.run(read()) if item is not None] == [1, 2]


def test_an_error_of_the_entries_passes_through_pauses() -> None:
    async def entries() -> AsyncIterator[int]:
        yield 1
        raise InvalidRequest("It broke.")  # noqa: EM101, TRY003 - a test's own words

    with pytest.raises(InvalidRequest, match="It broke"):
        asyncio.run(collected(with_pauses(entries(), first_s=60, then_s=60)))


def test_a_chunk_has_one_delta_for_each_call_it_adds_to() -> None:
    chunks = ChatChunks(Envelope("job_1", JobKind.CHAT, "m", 0, include_usage=False))
    entry = StreamEntry(id="1-0", type="tokens", attempt=1, calls=((0, "f", ""), (0, "", '{"a"'), (0, "", ":1}"), (1, "g", "{")))
    _, frame = chunks.pieces(entry, with_logprobs=False)
    calls = json.loads(frame.decode().removeprefix("data: "))["choices"][0]["delta"]["tool_calls"]
    assert [(call["index"], call["function"]) for call in calls] == [
        (0, {"name": "f", "arguments": '{"a":1}'}),
        (1, {"name": "g", "arguments": "{"}),
    ]


@pytest.mark.parametrize("end", [ClientHungUp, ServerStopping])
def test_work_that_nobody_wants_is_cancelled_before_the_caller_hears_of_it(end: type[Exception]) -> None:
    async def scenario() -> list[str]:
        log: list[str] = []
        stopping, begun, gone = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def work() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                log.append("cleaned up")

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def leave() -> None:
            await begun.wait()
            (gone if end is ClientHungUp else stopping).set()

        leaving = asyncio.create_task(leave())
        with pytest.raises(end):
            await while_wanted(work(), receive, stopping)
        await leaving
        return [*log, "told"]

    assert asyncio.run(scenario()) == ["cleaned up", "told"]


@pytest.mark.parametrize(("path", "shape"), [("/v1/models", "application/json"), ("/v1/jobs", "application/problem+json")])
def test_a_defect_is_a_500_in_shape_and_one_log_line_with_the_request_id(path: str, shape: str) -> None:
    async def defective(scope: Scope, receive: Receive, send: Send) -> None:
        _ = scope, receive, send
        raise ZeroDivisionError

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=RequestLogMiddleware(defective, Tally()))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path)

    with capture_logs() as lines:
        response = asyncio.run(ask())
    assert (response.status_code, response.headers["content-type"]) == (500, shape)
    assert response.headers["x-request-id"] in response.text
    assert "ZeroDivision" not in response.text
    assert response.headers["x-should-retry"] == "false"
    assert [line["event"] for line in lines] == ["http.failed", "http.request"]
