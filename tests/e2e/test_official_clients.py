"""One scenario through OpenAI's Python client, in both its styles, and its Node client: all are told the same, and what is right.

The scenario is ``tests/clients/scenario.json``; the facts are what each client made of our answers, exceptions included.
The programs of the pages run against the same stack.
"""

from __future__ import annotations

import base64
import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.clients.answers import joined, lasting
from tests.clients.run import CLIENTS, SCENARIO, run_scenario
from tests.documented import PAGES, program_of, with_address
from tests.e2e.conftest import Stack

Facts = dict[str, Any]
# What the two styles of the Python client share is tried with one of them.
_TRIED = [pytest.param(each, marks=[pytest.mark.slow] if each == "asyncio" else []) for each in CLIENTS]


@pytest.fixture(scope="module")
def told(stack: Stack) -> Callable[[str], Facts]:
    """What a client was told; the scenario runs once for each."""
    return functools.cache(lambda client: run_scenario(client, f"{stack.url}/v1"))


@pytest.fixture(params=_TRIED)
def facts(request: pytest.FixtureRequest, told: Callable[[str], Facts]) -> Facts:
    """What one client was told."""
    return told(request.param)


def comparable(facts: Facts) -> Facts:
    """Return what every client must have been told alike.

    How tokens are spread over events, and how far a job is when its receipt is written, are matters of the moment.
    """
    alike = {}
    for step in SCENARIO:
        name, told = step["step"], facts[step["step"]]
        match step["call"], step.get("take"):
            case ("post", _) | ("get", "text"):
                continue
            case (_, "chunks") if isinstance(told, list):
                alike[name] = joined(told)
            case _:
                alike[name] = told
    return lasting(alike)


def vectors(answer: Facts) -> np.ndarray[Any, Any]:
    return np.array([row["embedding"] for row in answer["data"]])


@pytest.mark.parametrize("client", _TRIED[1:])
def test_every_client_is_told_the_same(told: Callable[[str], Facts], client: str) -> None:
    # Answers of a warm prefix cache differ from those of a cold one in the last digits of a likelihood.
    assert comparable(told(client)) == pytest.approx(comparable(told(CLIENTS[0])), abs=1e-3)


def test_no_step_is_left_out(facts: Facts) -> None:
    assert list(facts) == [step["step"] for step in SCENARIO]


def test_models_are_found_by_every_name(facts: Facts) -> None:
    chat = next(model["id"] for model in facts["models"] if "chat" in model["roles"])

    assert facts["model by role"]["id"] == facts["model by another name"]["id"] == facts["chat"]["model"] == chat


def test_a_streamed_chat_is_the_whole_one(facts: Facts) -> None:
    whole, streamed = facts["chat"], joined(facts["chat streamed"])

    assert "Paris" in whole["choices"][0]["message"]["content"]
    assert streamed["choices"] == [{"text": whole["choices"][0]["message"]["content"], "finish_reason": "stop", "logprobs": []}]
    assert lasting(streamed["usage"]) == lasting(whole["usage"])


def test_an_answer_ends_at_a_stop_word_and_at_its_length(facts: Facts) -> None:
    stopped, cut = facts["chat stopped by a word"]["choices"][0], facts["chat cut short"]
    before = facts["chat"]["choices"][0]["message"]["content"].partition("Paris")[0]

    assert (stopped["message"]["content"], stopped["finish_reason"]) == (before, "stop")
    assert (cut["usage"]["completion_tokens"], cut["choices"][0]["finish_reason"]) == (5, "length")


def test_a_seed_draws_the_same_again(facts: Facts) -> None:
    assert facts["seeded"]["choices"] == facts["seeded again"]["choices"]


def test_several_answers_come_with_likelihoods_whole_or_streamed(facts: Facts) -> None:
    whole, streamed = facts["two answers with likelihoods"]["choices"], joined(facts["two answers streamed"])["choices"]
    texts = [choice["message"]["content"] for choice in whole]

    assert [choice["index"] for choice in whole] == [0, 1]
    assert texts[0] != texts[1]
    assert [choice["text"] for choice in streamed] == texts
    for choice, pieces, text in zip(whole, streamed, texts, strict=True):
        tokens = choice["logprobs"]["content"]
        assert "".join(token["token"] for token in tokens) == text
        assert [token["token"] for token in pieces["logprobs"]] == [token["token"] for token in tokens]
        assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 3 for token in tokens)


def test_a_completion_goes_on_with_its_prompt(facts: Facts) -> None:
    whole, streamed = facts["completion"], joined(facts["completion streamed"])
    text = whole["choices"][0]["text"]

    assert text.startswith(" Paris")
    assert "".join(whole["choices"][0]["logprobs"]["tokens"]) == text
    assert (streamed["choices"][0]["text"], streamed["usage"]["completion_tokens"]) == (text, 8)
    echoed = [choice["text"] for choice in facts["completions of two prompts"]["choices"]]
    assert echoed[0] == "The capital of France is" + text
    assert echoed[1].startswith("Two and two is")


def test_a_vector_is_the_same_in_every_encoding_and_means_something(facts: Facts) -> None:
    packed = base64.b64decode(facts["embedding in base64"]["data"][0]["embedding"])
    several = vectors(facts["embeddings"])

    np.testing.assert_array_equal(np.frombuffer(packed, "<f4"), vectors(facts["embedding"])[0].astype("<f4"))
    np.testing.assert_allclose(vectors(facts["embedding in floats"]), vectors(facts["embedding"]), atol=1e-6)
    np.testing.assert_allclose(several[0], vectors(facts["embedding"])[0], atol=1e-3)
    assert several[0] @ several[1] > several[0] @ several[2] + 0.3


def test_a_file_comes_back_as_it_was_and_goes_for_good(facts: Facts) -> None:
    uploaded = facts["uploaded"]

    assert (uploaded["filename"], uploaded["bytes"]) == ("notes.txt", len("Grüße, 你好\n".encode()))
    assert facts["files"] == [uploaded]
    assert facts["file"] == uploaded
    assert facts["content of the file"] == "Grüße, 你好\n"
    assert facts["deleted"] == {"id": uploaded["id"], "object": "file", "deleted": True}
    assert (facts["deleted file"]["raised"], facts["files after all"]) == ("NotFoundError", [])


@pytest.mark.parametrize(
    ("step", "raised", "param"),
    [
        ("no such model", "NotFoundError", "model"),
        ("chat of no such model", "NotFoundError", "model"),
        ("too hot", "BadRequestError", "temperature"),
        ("too hot, streamed", "BadRequestError", "temperature"),
        ("functions", "BadRequestError", "functions"),
    ],
)
def test_an_error_is_the_exception_that_callers_catch(facts: Facts, step: str, raised: str, param: str) -> None:
    told = facts[step]

    assert (told["raised"], told["param"], told["body"]["type"]) == (raised, param, "invalid_request_error")
    assert told["body"]["message"]


def test_leaving_a_stream_stops_its_job(facts: Facts) -> None:
    job = facts["job hung up on"]

    assert job["id"].removeprefix("job_") == facts["hung up"]["id"].removeprefix("chatcmpl-")
    assert job["state"] == "canceled"


def test_a_job_can_be_submitted_followed_and_fetched(facts: Facts) -> None:
    answer = facts["chat"]["choices"]

    assert (facts["job submitted"]["state"], facts["job submitted"]["output"]["choices"]) == ("succeeded", answer)
    assert (facts["receipt"]["object"], facts["output of the receipt"]["choices"]) == ("job", answer)
    for followed in ("events of the job submitted", "events of the job of the receipt"):
        assert '"state":"succeeded"' in facts[followed]


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs_as_it_stands(stack: Stack, page: str) -> None:
    program = with_address(program_of(page), stack.url)

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
