"""Completions, likelihoods and biases: from a request to work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.engines.protocols import Frontend, TextWork
from app.errors import ContextTooLong, InvalidRequest
from tests.conformance.subjects import Subject
from tests.conformance.test_frontends import chat_over, copied, read, text_work


@pytest.fixture(scope="module")
def chat(subject_named: Callable[[str], Subject]) -> Frontend:
    return subject_named("qwen3-f32").frontend()


def completion_work(frontend: Frontend, prompt: object, **request: Any) -> TextWork:  # noqa: ANN401
    work = frontend.prepare("w", "completion", {"prompt": prompt, **request}, seed=1)
    assert isinstance(work, TextWork)
    return work


def test_a_completion_goes_on_with_its_text_as_it_is(chat: Frontend, subject_named: Callable[[str], Subject]) -> None:
    subject = subject_named("qwen3-f32")
    work = completion_work(chat, "Once upon")
    assert read(subject, work) == "Once upon"
    assert work.max_tokens == 16
    assert completion_work(chat, list(work.prompt), max_tokens=3).prompt == work.prompt


def test_a_completion_needs_no_template(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    directory = copied(tiny_model("qwen3-f32"), tmp_path / "m")
    (directory / "chat_template.jinja").unlink()
    assert completion_work(chat_over(directory), "Once").prompt


def test_an_echo_is_the_prompt_s_text_also_of_token_ids(chat: Frontend) -> None:
    work = completion_work(chat, "Grüße 🎉", echo=True)
    assert work.echo == "Grüße 🎉"
    assert completion_work(chat, list(work.prompt), echo=True).echo == "Grüße 🎉"
    assert completion_work(chat, "Once").echo == ""


@pytest.mark.parametrize(
    ("request_", "logprobs"),
    [({}, None), ({"logprobs": False}, None), ({"logprobs": True}, 0), ({"logprobs": True, "top_logprobs": 5}, 5)],
)
def test_a_chat_says_whether_likelihoods_are_told_and_how_many_besides(
    chat: Frontend, request_: dict[str, Any], logprobs: int | None
) -> None:
    assert text_work(chat, **request_).logprobs == logprobs


def test_a_completion_says_how_many_likelihoods_are_told(chat: Frontend) -> None:
    assert [completion_work(chat, "x", logprobs=number).logprobs for number in (None, 0, 5)] == [None, 0, 5]


def test_biases_are_by_token_id_and_an_id_the_model_lacks_is_refused(chat: Frontend) -> None:
    assert text_work(chat, logit_bias={"5": 1, "7": -2.5}).sampling.logit_bias == ((5, 1.0), (7, -2.5))
    with pytest.raises(InvalidRequest, match="no token id") as refused:
        text_work(chat, logit_bias={"99999999": 1})
    assert refused.value.param == "logit_bias"
    with pytest.raises(InvalidRequest, match="no token id") as refused:
        completion_work(chat, [1, 99999999])
    assert refused.value.param == "prompt"


def test_a_completion_that_does_not_fit_names_the_prompt(tiny_model: Callable[[str], Path]) -> None:
    frontend = chat_over(tiny_model("qwen3-f32"), context=100)
    with pytest.raises(ContextTooLong) as refused:
        completion_work(frontend, "word " * 300)
    assert refused.value.param == "prompt"
    with pytest.raises(ContextTooLong, match="at least") as refused:
        completion_work(frontend, "word " * 1_000_000)
    assert refused.value.param == "prompt"
