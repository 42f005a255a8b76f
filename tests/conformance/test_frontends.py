"""Requests into work: what is refused, what is filled in, and that threads may share it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.engines.protocols import EmbeddingWork, Frontend, Sampling, TextWork
from app.engines.registry import open_frontend
from app.errors import ContextTooLong, InferenceError, InvalidRequest, UnsupportedTask
from app.models.spec import ModelSpec
from tests.conformance.driver import run
from tests.conformance.subjects import Subject

HELLO = [{"role": "user", "content": "Hello there"}]


@pytest.fixture(scope="module")
def chat(subject_named: Callable[[str], Subject]) -> Frontend:
    return subject_named("qwen3-f32").frontend()


@pytest.fixture(scope="module")
def embedder(subject_named: Callable[[str], Subject]) -> Frontend:
    return subject_named("bert-f32").frontend()


def text_work(frontend: Frontend, **request: Any) -> TextWork:  # noqa: ANN401
    work = frontend.prepare("w", "chat", {"messages": HELLO, **request}, seed=1)
    assert isinstance(work, TextWork)
    return work


def rows_of(frontend: Frontend, given: object, **request: Any) -> tuple[tuple[int, ...], ...]:  # noqa: ANN401
    work = frontend.prepare("w", "embedding", {"input": given, **request}, seed=1)
    assert isinstance(work, EmbeddingWork)
    return work.rows


def read(subject: Subject, work: TextWork) -> str:
    return str(subject.tokenizer.decode(work.prompt))


def copied(source: Path, target: Path, **changes: dict[str, Any] | None) -> Path:
    """Copy a model, changing the JSON files named, None removing one."""
    shutil.copytree(source, target)
    for name, change in changes.items():
        file = target / f"{name}.json"
        if change is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(json.dumps({**(json.loads(file.read_text()) if file.exists() else {}), **change}))
    return target


def chat_over(directory: Path, **spec: Any) -> Frontend:  # noqa: ANN401
    return open_frontend(ModelSpec.model_validate({"id": "tiny", "repo": "tiny", "tasks": ["chat"], **spec}), directory)


def test_a_conversation_takes_the_model_s_format_and_opens_the_answer(chat: Frontend, subject_named: Callable[[str], Subject]) -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]},
    ]
    prompt = read(subject_named("qwen3-f32"), text_work(chat, messages=messages))
    assert prompt.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")


def test_thinking_is_off_unless_the_request_turns_it_on(chat: Frontend, subject_named: Callable[[str], Subject]) -> None:
    subject = subject_named("qwen3-f32")
    assert read(subject, text_work(chat)).endswith("<think>\n\n</think>\n\n")
    assert not read(subject, text_work(chat, chat_template_kwargs={"enable_thinking": True})).endswith("</think>\n\n")


def test_a_request_may_set_the_template_s_variables_and_not_how_it_is_called(chat: Frontend) -> None:
    with pytest.raises(InvalidRequest, match="chat_template") as caught:
        text_work(chat, chat_template_kwargs={"chat_template": "{{ 1 }}"})
    assert caught.value.param == "chat_template_kwargs"


def test_what_a_request_leaves_out_comes_from_the_model(chat: Frontend) -> None:
    assert text_work(chat).sampling == Sampling(seed=1, temperature=0.6, top_p=0.95, top_k=20)


def test_what_a_request_says_comes_first(chat: Frontend) -> None:
    said = {"seed": 9, "temperature": 0, "top_p": 0.5, "top_k": 0, "min_p": 0.1, "presence_penalty": 1, "frequency_penalty": -1}
    work = text_work(chat, stop="END", repetition_penalty=1.1, **said)
    assert work.sampling == Sampling(9, 0.0, 0.5, 0, 0.1, 1.1, 1.0, -1.0)
    assert work.stop == ("END",)
    assert text_work(chat, stop=["a", "b"]).stop == ("a", "b")


def test_any_integer_is_a_seed(chat: Frontend) -> None:
    for seed in (-1, 0, 2**63, -(2**70)):
        assert text_work(chat, seed=seed).sampling.seed == seed % 2**63


def test_a_model_that_says_nothing_of_sampling_is_sampled_as_openai_documents(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    frontend = chat_over(copied(tiny_model("qwen3-f32"), tmp_path / "m", generation_config=None))
    assert text_work(frontend).sampling == Sampling(seed=1)


def test_a_model_that_is_not_to_be_sampled_is_cold_unless_the_request_warms_it(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    frontend = chat_over(copied(tiny_model("qwen3-f32"), tmp_path / "m", generation_config={"do_sample": False}))
    assert text_work(frontend).sampling.temperature == 0
    assert text_work(frontend, temperature=0.5).sampling.temperature == 0.5


def test_an_answer_is_bounded_by_default_and_by_the_context(tiny_model: Callable[[str], Path]) -> None:
    roomy = chat_over(tiny_model("qwen3-f32"))
    assert text_work(roomy).max_tokens == 2048
    narrow = chat_over(tiny_model("qwen3-f32"), context=100)
    assert narrow.context == 100
    work = text_work(narrow)
    assert work.max_tokens == 100 - len(work.prompt)


def test_max_tokens_that_are_more_than_what_is_left_may_mean_all_that_is_left(chat: Frontend) -> None:
    everything = chat.context - len(text_work(chat).prompt)
    assert text_work(chat, max_tokens=chat.context, fit_max_tokens=True).max_tokens == everything
    assert text_work(chat, max_tokens=5, fit_max_tokens=True).max_tokens == 5


def test_the_newer_name_of_max_tokens_comes_first(chat: Frontend) -> None:
    assert text_work(chat, max_tokens=5).max_tokens == 5
    assert text_work(chat, max_tokens=5, max_completion_tokens=6).max_tokens == 6


def test_what_does_not_fit_the_context_is_refused_with_the_numbers(tiny_model: Callable[[str], Path]) -> None:
    frontend = chat_over(tiny_model("qwen3-f32"), context=100)
    with pytest.raises(ContextTooLong, match=r"context is 100 tokens.*99 are asked") as caught:
        text_work(frontend, max_tokens=99)
    assert caught.value.param == "max_tokens"
    with pytest.raises(ContextTooLong, match="Shorten the prompt") as caught:
        text_work(frontend, messages=[{"role": "user", "content": "word " * 300}])
    assert caught.value.param == "messages"


def test_a_model_without_a_template_cannot_chat(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    directory = copied(tiny_model("qwen3-f32"), tmp_path / "m")
    (directory / "chat_template.jinja").unlink()
    with pytest.raises(InvalidRequest, match="no chat template"):
        text_work(chat_over(directory))


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('roles must alternate') }}", "{{ messages[7].content }}", "{{ 1 + 'a' }}", "{% for %}"]
)
def test_a_conversation_that_the_template_refuses_is_the_caller_s_error(
    tiny_model: Callable[[str], Path], tmp_path: Path, template: str
) -> None:
    directory = copied(tiny_model("qwen3-f32"), tmp_path / "m")
    (directory / "chat_template.jinja").write_text(template)
    with pytest.raises(InvalidRequest, match="template") as caught:
        text_work(chat_over(directory))
    assert caught.value.param == "messages"


def test_what_an_earlier_attempt_published_is_carried_along(chat: Frontend) -> None:
    work = chat.prepare("w", "chat", {"messages": HELLO}, seed=1, published=[3, 4], alone=True)
    assert isinstance(work, TextWork)
    assert (work.published, work.alone) == ((3, 4), True)


def test_each_frontend_refuses_the_other_s_work(chat: Frontend, embedder: Frontend) -> None:
    with pytest.raises(UnsupportedTask):
        chat.prepare("w", "embedding", {"input": "x"}, seed=1)
    with pytest.raises(UnsupportedTask):
        embedder.prepare("w", "chat", {"messages": HELLO}, seed=1)


def test_texts_and_token_ids_alone_and_in_lists_are_taken(embedder: Frontend, subject_named: Callable[[str], Subject]) -> None:
    tokenizer = subject_named("bert-f32").tokenizer
    one, other = (tuple(tokenizer(text)["input_ids"]) for text in ("quick fox", "lazy dog"))
    assert rows_of(embedder, "quick fox") == (one,)
    assert rows_of(embedder, ["quick fox", "lazy dog"]) == (one, other)
    assert rows_of(embedder, [5, 6, 7]) == ((5, 6, 7),)
    assert rows_of(embedder, [[5, 6], [7]]) == ((5, 6), (7,))


def test_a_long_text_is_an_error_and_never_cut_in_silence(embedder: Frontend) -> None:
    for given in ("fox " * 2000, ["short", "fox " * 2000], [5] * 2000):
        with pytest.raises(ContextTooLong) as caught:
            rows_of(embedder, given)
        assert caught.value.param == "input"


def test_a_long_text_is_cut_where_the_request_says_so_and_keeps_its_special_tokens(embedder: Frontend) -> None:
    whole = rows_of(embedder, "the quick brown fox jumps")[0]
    cut = rows_of(embedder, "the quick brown fox jumps", truncate_prompt_tokens=5)[0]
    assert cut == (*whole[:4], whole[-1])
    assert len(rows_of(embedder, "fox " * 2000, truncate_prompt_tokens=-1)[0]) == embedder.context
    assert rows_of(embedder, [5, 6, 7], truncate_prompt_tokens=2) == ((5, 6),)
    # Cutting is this request's alone.
    assert rows_of(embedder, "the quick brown fox jumps")[0] == whole


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"input": [10**6]}, "input"),
        ({"input": "x", "truncate_prompt_tokens": 10**6}, "truncate_prompt_tokens"),
        ({"input": "x", "truncate_prompt_tokens": 2}, "truncate_prompt_tokens"),
        ({"input": [5], "truncate_prompt_tokens": 0}, "input"),
        ({"input": "x", "dimensions": 65}, "dimensions"),
    ],
)
def test_an_input_that_cannot_be_embedded_is_named(embedder: Frontend, request_: dict[str, Any], param: str) -> None:
    with pytest.raises(InferenceError) as caught:
        embedder.prepare("w", "embedding", request_, seed=1)
    assert caught.value.param == param


def test_many_threads_prepare_at_once(embedder: Frontend, chat: Frontend) -> None:
    expected = (rows_of(embedder, "fox " * 50), rows_of(embedder, "fox " * 50, truncate_prompt_tokens=9), text_work(chat))
    found: list[bool] = []
    barrier = threading.Barrier(8)

    def prepare() -> None:
        barrier.wait()
        for _ in range(40):
            mine = (rows_of(embedder, "fox " * 50), rows_of(embedder, "fox " * 50, truncate_prompt_tokens=9), text_work(chat))
            found.append(mine == expected)

    threads = [threading.Thread(target=prepare) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 320


def test_a_very_long_text_becomes_the_same_tokens(embedder: Frontend) -> None:
    (short,) = rows_of(embedder, "a cat " * 100, truncate_prompt_tokens=40)
    (long,) = rows_of(embedder, "a cat " * 100_000, truncate_prompt_tokens=40)
    assert long == short


def test_a_frontend_made_on_another_thread_opens_on_this_one(subject: Subject) -> None:
    made: list[Frontend] = []
    thread = threading.Thread(target=lambda: made.append(subject.frontend()))
    thread.start()
    thread.join()
    *_, engine = made[0].open()
    assert engine is not None
    (outcome,) = run(engine, subject.work(0)).values()
    assert outcome.error is None
    engine.close()


def test_a_text_that_cannot_fit_is_refused_before_its_tokens_are_counted(chat: Frontend, embedder: Frontend) -> None:
    # A kind of text that the tokenizer would need long for: the refusal says "at least", so nothing was counted.
    endless = "word " * 20_000_000
    with pytest.raises(ContextTooLong, match="at least"):
        text_work(chat, messages=[{"role": "user", "content": endless}])
    with pytest.raises(ContextTooLong, match="at least"):
        rows_of(embedder, endless)
    (cut,) = rows_of(embedder, endless, truncate_prompt_tokens=-1)
    assert len(cut) == embedder.context


def test_a_text_that_barely_exceeds_the_context_is_counted_exactly(chat: Frontend) -> None:
    with pytest.raises(ContextTooLong, match=r"the prompt has \d+\.? "):
        text_work(chat, messages=[{"role": "user", "content": "x " * chat.context}])
