"""From ``mlx-local up`` to right answers of real models, through the official client, and through kills."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

import httpx
import numpy as np
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel, Field

from tests.e2e.conftest import Stack

STORY = "Write a story about a dog."


def ask(client: openai.OpenAI, text: str, temperature: float = 0.0, max_tokens: int = 24, seed: int | None = None) -> ChatCompletion:
    return client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": text}], temperature=temperature, max_tokens=max_tokens, seed=seed
    )


def stream(client: openai.OpenAI, text: str, max_tokens: int) -> openai.Stream[ChatCompletionChunk]:
    return client.chat.completions.create(
        model="chat",
        messages=[{"role": "user", "content": text}],
        temperature=0,
        max_tokens=max_tokens,
        stream=True,
        stream_options={"include_usage": True},
    )


def content(answer: ChatCompletion) -> str:
    return answer.choices[0].message.content or ""


def job_of(base: str, job_id: str) -> dict[str, object]:
    return dict(httpx.get(f"{base}/v1/jobs/{job_id}").json())


def ended(base: str, job_id: str) -> dict[str, object]:
    """Follow a job over whatever dies meanwhile, and return its record."""
    give_up = time.monotonic() + 200
    while time.monotonic() < give_up:
        try:
            with httpx.stream("GET", f"{base}/v1/jobs/{job_id}/events", timeout=30) as events:
                for _ in events.iter_lines():
                    pass
            record = job_of(base, job_id)
        except httpx.TransportError:
            continue
        if record["state"] in {"succeeded", "failed", "canceled"}:
            return record
    pytest.fail(f"{job_id} did not end")


def test_the_chat_model_knows_the_capital_of_france(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "What is the capital of France?"}])
    assert "Paris" in content(answer)
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_streamed_pieces_are_the_whole_answer(client: openai.OpenAI) -> None:
    whole = ask(client, STORY, max_tokens=40)
    chunks = list(stream(client, STORY, 40))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == content(whole)
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 40


class Animal(BaseModel):
    name: Annotated[str, Field(max_length=20)]
    legs: Annotated[int, Field(ge=0, le=8)]
    colour: Literal["brown", "black", "white"] | None
    young: Annotated[list[Annotated[str, Field(max_length=12)]], Field(max_length=2)]


def test_answers_are_of_the_model_that_the_client_wants(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "Describe a dog, as JSON."}]
    asked: dict[str, Any] = {"model": "chat", "messages": messages, "max_tokens": 120, "seed": 1, "response_format": Animal}
    both = [choice.message.parsed for choice in client.chat.completions.parse(**asked, n=2, logprobs=True).choices]
    assert all(isinstance(parsed, Animal) for parsed in both)
    with client.chat.completions.stream(**asked) as streamed:
        assert streamed.get_final_completion().choices[0].message.parsed == both[0]


def test_meaning_is_near_to_meaning(client: openai.OpenAI) -> None:
    texts = ["a cat sat on the mat", "a kitten on a rug", "stock prices fell today"]
    rows = np.array([item.embedding for item in client.embeddings.create(model="embedding", input=texts).data])
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.3
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.slow  # tests/conformance tries it of every family
def test_cold_answers_do_not_change_in_hot_company(client: openai.OpenAI) -> None:
    questions = [f"Name {n} animals." for n in range(2, 10)]
    solo = [content(ask(client, question)) for question in questions]
    seeded = content(ask(client, STORY, temperature=1.5, seed=7))
    with ThreadPoolExecutor(17) as pool:
        cold = [pool.submit(ask, client, question) for question in questions]
        hot = [pool.submit(ask, client, question, 1.5) for question in questions]
        again = pool.submit(ask, client, STORY, 1.5, 24, 7)
        assert [content(future.result()) for future in cold] == solo
        assert all(future.result().choices for future in hot)
        assert content(again.result()) == seeded


def test_a_stream_goes_on_when_the_worker_is_killed(stack: Stack, client: openai.OpenAI) -> None:
    whole = content(ask(client, STORY, max_tokens=120))
    text = ""
    killed = False
    for chunk in stream(client, STORY, 120):
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        if len(text) > 40 and not killed:
            stack.kill("worker")
            killed = True
    assert killed
    assert text == whole


def test_a_job_outlives_its_api_and_its_redis(stack: Stack, client: openai.OpenAI) -> None:
    whole = content(ask(client, STORY, max_tokens=80))
    request = {"messages": [{"role": "user", "content": STORY}], "temperature": 0, "max_tokens": 80}
    submitted = httpx.post(f"{stack.url}/v1/jobs", json={"kind": "chat", "request": request})
    assert submitted.status_code == 202
    stack.kill("api")
    stack.kill("redis")
    record = ended(stack.url, submitted.headers["Location"].rpartition("/")[2])
    assert record["state"] == "succeeded"
    assert ChatCompletion.model_validate(record["output"]).choices[0].message.content == whole


def test_hanging_up_cancels_the_job(stack: Stack) -> None:
    body = {"messages": [{"role": "user", "content": STORY}], "max_tokens": 2000, "stream": True, "temperature": 1, "stop": ["\x00"]}
    with httpx.stream("POST", f"{stack.url}/v1/chat/completions", json=body, timeout=60) as answer:
        job_id = answer.headers["X-Job-Id"]
        next(answer.iter_lines())
    assert ended(stack.url, job_id)["state"] == "canceled"


def test_the_command_line_asks_and_sees(stack: Stack) -> None:
    assert "Paris" in stack.run("chat", "What is the capital of France?")
    assert len(stack.run("embed", "one", "two").splitlines()) == 2
    assert "smollm2-135m-instruct" in stack.run("models", "list")
    assert "succeeded" in stack.run("jobs", "list")


def test_the_home_has_a_script_that_downloads_what_is_missing(stack: Stack) -> None:
    script = stack.home / "download_models.py"
    done = subprocess.run([sys.executable, str(script)], env=stack.environment, capture_output=True, text=True, check=True)
    assert done.stdout.count("are on this machine") == 3
