"""The tokens of a chat, counted by a real worker: as many as its answer's usage says, and no weights are loaded for that."""

from __future__ import annotations

import asyncio
import base64
import io
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from app.api.counting import count_tokens
from app.api.services import Pace, Services
from app.errors import InferenceError
from app.jobs.gateway import JobGateway
from app.jobs.record import JobKind, JobState
from app.models.live_catalog import LiveCatalog
from app.settings import Settings, load_settings
from tests.conftest import RedisServer
from tests.integration.conftest import Api, running
from tests.integration.worker_process import WorkerProcess
from tests.pictures import corners

HELLO = [{"role": "user", "content": "Hello there"}]
CHATS: list[dict[str, Any]] = [
    {"model": "little", "messages": HELLO},
    {"model": "little", "messages": [{"role": "system", "content": "Be brief."}, *HELLO, {"role": "assistant", "content": "Yes?"}, *HELLO]},
    {"model": "little", "messages": HELLO, "chat_template_kwargs": {"enable_thinking": True}},
]


def picture() -> str:
    out = io.BytesIO()
    corners().save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


class Stack:
    """A worker, and what an API asks it with."""

    def __init__(self, settings: Settings, worker: WorkerProcess) -> None:
        self.settings = settings
        self.worker = worker

    def ask(self, work: Callable[[Services, Request], Awaitable[Any]]) -> Any:  # noqa: ANN401
        """Do something with the parts of an API, on behalf of a caller who stays."""

        async def receive() -> Any:  # noqa: ANN401 - ASGI's message; never one
            await asyncio.Event().wait()

        async def main() -> Any:  # noqa: ANN401
            gateway = await JobGateway.open(self.settings)
            try:
                services = Services(self.settings, LiveCatalog(self.settings), gateway, Pace())
                request = Request({"type": "http", "method": "POST", "path": "/count", "headers": []}, receive)
                return await work(services, request)
            finally:
                await gateway.close()

        return asyncio.run(main())

    def count(self, body: object) -> int:
        return int(self.ask(lambda services, request: count_tokens(request, services, body)))


@pytest.fixture(scope="module")
def stack(tiny_model: Callable[[str], Path]) -> Iterator[Stack]:
    home = Path(tempfile.mkdtemp(prefix="mlx-", dir="/tmp"))
    (home / "catalog.toml").write_text(
        f"""
        [[model]]
        id = "little"
        repo = "{tiny_model("qwen3-f32")}"
        tasks = ["chat"]
        context = 400
        [[model]]
        id = "eyes"
        repo = "{tiny_model("qwen3_vl-f32")}"
        tasks = ["chat", "vision"]
        [[model]]
        id = "gone"
        repo = "./gone"
        tasks = ["chat"]
        [roles]
        chat = "little"
        """
    )
    (home / "redis").mkdir()
    redis = RedisServer(home / "redis")
    redis.start()
    of_home = load_settings(home=home / "home", redis_url=redis.url, profile="starter", min_free_disk=0, catalog=home / "catalog.toml")
    of_home.home.mkdir()
    worker = WorkerProcess(of_home, HF_HOME=str(home / "hf"))
    worker.start()
    yield Stack(of_home, worker)
    assert worker.stop() == 0
    redis.kill()
    shutil.rmtree(home, ignore_errors=True)


def test_as_many_tokens_are_counted_as_the_answer_is_charged_for_and_nothing_is_loaded(stack: Stack) -> None:
    shows = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": picture()}}]
    chats = [*CHATS, {"model": "eyes", "messages": [{"role": "user", "content": shows}]}]
    counted = [stack.count(body) for body in chats]
    assert stack.worker.said("model.loaded") == []
    with running(stack.settings) as api:
        charged = [prompt_tokens(api, body) for body in chats]
    assert set(stack.worker.said("model.loaded")) == {"little", "eyes"}  # by the answers
    assert counted == charged
    assert len(set(counted)) == len(counted)
    assert [stack.count(body) for body in chats] == counted  # by the models in memory


def prompt_tokens(api: Api, body: dict[str, Any]) -> int:
    answer = api.http.post("/v1/chat/completions", json={**body, "max_tokens": 1}).raise_for_status()
    return int(answer.json()["usage"]["prompt_tokens"])


def test_a_conversation_that_is_longer_than_the_context_is_counted_all_the_same(stack: Stack) -> None:
    turns = [{"role": "user", "content": "the river and the sea " * 60}, {"role": "assistant", "content": "Yes."}, *HELLO]
    assert stack.count({"messages": turns, "max_tokens": 10_000}) > 400


def test_what_cannot_be_counted_says_why(stack: Stack) -> None:
    cases: list[tuple[dict[str, Any], str, str | None]] = [
        ({"messages": []}, "invalid_request", "messages"),
        ({"messages": HELLO, "model": "nobody"}, "model_not_found", "model"),
        ({"messages": HELLO, "model": "gone"}, "model_not_downloaded", "model"),
        ({"messages": HELLO, "model": "qwen3-14b"}, "model_not_downloaded", "model"),
        ({"messages": HELLO, "chat_template_kwargs": {"tokenize": False}}, "invalid_request", "chat_template_kwargs"),
    ]
    for body, code, param in cases:
        with pytest.raises(InferenceError) as caught:
            stack.count(body)
        fact = caught.value.as_fact()
        assert (fact.code, fact.param) == (code, param)


def test_a_count_is_a_durable_job_that_waits_for_no_model_and_downloads_none(stack: Stack) -> None:
    stack.count(CHATS[0])
    jobs = stack.ask(lambda services, _: services.gateway.list_jobs(kind=JobKind.COUNT, state=JobState.SUCCEEDED, limit=1))
    assert (jobs[0].model, jobs[0].lane, jobs[0].usage) == ("little", "interactive", {"prompt_tokens": stack.count(CHATS[0])})
    assert stack.ask(lambda services, _: services.gateway.list_jobs(kind=JobKind.DOWNLOAD)) == []


def test_anthropics_clients_are_told_the_same_count_and_what_ended_the_answer(stack: Stack) -> None:
    tool = {"name": "look", "description": "Look there.", "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}}}
    prompt = {"model": "little", "system": "Be brief.", "messages": HELLO, "tools": [tool], "thinking": {"type": "disabled"}}
    asked = {**prompt, "max_tokens": 8, "temperature": 0}
    with running(stack.settings) as api:
        counted = api.http.post("/v1/messages/count_tokens", json=prompt).raise_for_status().json()["input_tokens"]
        whole = api.http.post("/v1/messages", json=asked).raise_for_status().json()
        text = whole["content"][0]["text"]
        stop = text[len(text) // 2]
        stopped = api.http.post("/v1/messages", json={**asked, "stop_sequences": ["never said", stop]}).raise_for_status().json()
    assert whole["usage"]["input_tokens"] + whole["usage"]["cache_read_input_tokens"] == counted
    assert (whole["stop_reason"], whole["stop_sequence"]) == ("max_tokens", None)
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", stop)
    assert [block["text"] for block in stopped["content"]] == [said for said in [text[: text.index(stop)]] if said]
