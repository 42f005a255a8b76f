"""Chats and completions over the whole path, with a real model: several answers, likelihoods, biases, and the shapes of them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from app.settings import Settings
from tests.integration.conftest import Api
from tests.integration.openai_shapes import chat, chat_events, completion, completion_events, embeddings
from tests.integration.worker_process import WorkerProcess

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
WARM: dict[str, Any] = {"temperature": 1.2, "seed": 7, "max_tokens": 12}


@pytest.fixture
def stack(settings: Settings, tiny_model: Callable[[str], Path], start_api: Callable[..., Api]) -> Iterator[Api]:
    """An API and a worker with tiny models."""
    catalog = settings.home / "catalog.toml"
    models = {"talker": ("qwen3-f32", "chat"), "embedder": ("bert-f32", "embedding")}
    entries = [f'[[model]]\nid = "{name}"\nrepo = "{tiny_model(of)}"\ntasks = ["{task}"]\n' for name, (of, task) in models.items()]
    catalog.write_text("\n".join([*entries, '[roles]\nchat = "talker"\nembedding = "embedder"\n']))
    ours = settings.model_copy(update={"catalog": catalog})
    worker = WorkerProcess(ours)
    worker.start()
    yield start_api(ours)
    assert worker.stop() == 0


def test_every_shape_is_one_that_openai_s_client_knows(stack: Api) -> None:
    for options in (
        {},
        {"n": 3},
        {"logprobs": True},
        {"logprobs": True, "top_logprobs": 4, "n": 2},
        {"stop": ["e"], "logit_bias": {"40": 3}},
    ):
        whole = chat(stack.http, messages=HELLO, **WARM, **options)
        assert len(whole.choices) == options.get("n", 1)
        for extras in ({}, {"include_usage": True}, {"include_usage": True, "include_obfuscation": True}):
            assert chat_events(stack.http, messages=HELLO, **WARM, **options, stream_options=extras)
    for options in ({}, {"n": 2, "best_of": 2}, {"logprobs": 0}, {"logprobs": 3, "n": 2}, {"echo": True}):
        for prompt in ("Once upon", ["Once", "upon a time"], [40, 41, 42], [[40, 41], [42]]):
            assert completion(stack.http, prompt=prompt, **WARM, **options)
        assert completion_events(stack.http, prompt="Once", **WARM, **options, stream_options={"include_usage": True})
    assert embeddings(stack.http, input=["a", "b"]).data[1].index == 1


def test_a_stream_says_what_the_whole_answer_says(stack: Api) -> None:
    asked: dict[str, Any] = {"messages": HELLO, **WARM, "n": 3, "logprobs": True, "top_logprobs": 2}
    whole = chat(stack.http, **asked)
    events = chat_events(stack.http, **asked, stream_options={"include_usage": True})
    said: dict[int, list[Any]] = defaultdict(lambda: ["", [], None])
    for event in events:
        for piece in event.choices:
            said[piece.index][0] += piece.delta.content or ""
            said[piece.index][1] += (piece.logprobs.content or []) if piece.logprobs else []
            said[piece.index][2] = piece.finish_reason or said[piece.index][2]
    for choice in whole.choices:
        assert choice.logprobs is not None
        text, logprobs, reason = said[choice.index]
        assert (text, reason) == (choice.message.content, choice.finish_reason)
        told = choice.logprobs.content or []
        assert [one.token for one in logprobs] == [one.token for one in told]
        assert [one.logprob for one in logprobs] == pytest.approx([one.logprob for one in told], abs=1e-3)
        assert all(len(one.top_logprobs) == 2 for one in logprobs)
    assert len({choice.message.content for choice in whole.choices}) == 3
    assert events[-1].choices == []
    assert events[-1].usage is not None
    assert whole.usage is not None
    assert events[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_more_answers_change_none_and_are_counted_once_each(stack: Api) -> None:
    one = completion(stack.http, prompt="Once upon", **WARM)
    four = completion(stack.http, prompt="Once upon", n=4, **WARM)
    assert four.choices[0].text == one.choices[0].text
    assert one.usage is not None
    assert four.usage is not None
    assert four.usage.prompt_tokens == one.usage.prompt_tokens
    assert four.usage.completion_tokens == 48
    both = completion(stack.http, prompt=["Once upon", "a time"], n=2, **WARM)
    assert [choice.text for choice in both.choices][:2] == [choice.text for choice in four.choices][:2]
    ids = completion(stack.http, prompt="Once upon", max_tokens=1, echo=True)
    assert ids.choices[0].text.startswith("Once upon")


def test_completions_stream_the_text_of_each_choice_and_its_offsets(stack: Api) -> None:
    asked: dict[str, Any] = {"prompt": ["Once upon", "a time"], **WARM, "logprobs": 2}
    whole = completion(stack.http, **asked)
    events = completion_events(stack.http, **asked)
    for choice in whole.choices:
        mine = [piece for event in events for piece in event.choices if piece.index == choice.index]
        assert "".join(piece.text for piece in mine) == choice.text
        assert choice.logprobs is not None
        offsets = [offset for piece in mine if piece.logprobs for offset in piece.logprobs.text_offset or []]
        assert offsets == choice.logprobs.text_offset
        assert choice.logprobs.tokens is not None
        assert choice.logprobs.top_logprobs is not None
        for token, top in zip(choice.logprobs.tokens, choice.logprobs.top_logprobs, strict=True):
            assert token in top
            assert 2 <= len(top) <= 3


def test_a_bias_reaches_the_model_and_a_token_it_lacks_is_the_caller_s_mistake(stack: Api) -> None:
    first = chat(stack.http, messages=HELLO, temperature=0, max_tokens=4, logit_bias={"60": 100}, logprobs=True)
    again = completion(stack.http, prompt=[60, 60, 60, 60], max_tokens=1, echo=True)
    assert first.choices[0].message.content
    assert again.choices[0].text.startswith(first.choices[0].message.content)
    for call, param in (
        ({"messages": HELLO, "logit_bias": {"999999": 1}}, "logit_bias"),
        ({"prompt": [999999]}, "prompt"),
        ({"prompt": "x", "max_tokens": 100_000}, "max_tokens"),
    ):
        route: Any = stack.openai.chat.completions.create if "messages" in call else stack.openai.completions.create
        with pytest.raises(openai.BadRequestError) as refused:
            route(model="talker", **call)
        assert refused.value.param == param


def test_the_official_clients_read_all_of_it(stack: Api) -> None:
    answered = stack.openai.chat.completions.create(model="chat", messages=HELLO, n=2, logprobs=True, top_logprobs=1, **WARM)
    assert [choice.index for choice in answered.choices] == [0, 1]
    text = "".join(event.choices[0].text for event in stack.openai.completions.create(model="chat", prompt="Once", stream=True, **WARM))
    assert text == stack.openai.completions.create(model="chat", prompt="Once", **WARM).choices[0].text

    async def other() -> str:
        http = openai.DefaultAsyncHttpxClient(timeout=60, trust_env=False)
        async with openai.AsyncOpenAI(base_url=str(stack.openai.base_url), api_key="none", http_client=http) as client:
            events = await client.completions.create(model="chat", prompt="Once", stream=True, **WARM)
            return "".join([event.choices[0].text async for event in events])

    assert asyncio.run(other()) == text
