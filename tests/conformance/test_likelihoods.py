"""How likely tokens were, and biases: checked against what the model itself says, read again without cache, batch or anything of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import mlx.core as mx
import numpy as np
import pytest

from app.engines import vlm_library
from app.engines.detokenize import spelling
from app.engines.protocols import Likelihood, TextWork, Tokens
from tests.conformance.driver import Outcome, Run, run, same
from tests.conformance.subjects import Subject

KINDS: dict[str, dict[str, Any]] = {
    "cold": {"temperature": 0.0},
    "hot": {"temperature": 1.5},
    "filtered": {"temperature": 0.7, "top_p": 0.8, "top_k": 5},
    "penalised": {"temperature": 0.9, "repetition_penalty": 1.3, "frequency_penalty": 1.0},
    "biased": {"temperature": 1.0, "logit_bias": ((40, 5.0), (41, -100.0))},
}


def likelihoods(outcome: Outcome) -> list[Likelihood]:
    return [one for event in outcome.events if isinstance(event, Tokens) for one in event.logprobs]


def logits_after(subject: Subject, prompt: Sequence[int], answer: Sequence[int]) -> Any:  # noqa: ANN401 - numpy, (tokens, vocabulary)
    """What the model says before each token of *answer*."""
    model = vlm_library.load_lazily(subject.directory)
    ids = mx.array([[*prompt, *answer]])
    output = model.language_model(ids, inputs_embeds=model.get_input_embeddings(ids).inputs_embeds)
    return np.array(output.logits[0, len(prompt) - 1 : -1].astype(mx.float32))


def log_softmax(logits: Any) -> Any:  # noqa: ANN401
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def assert_true(subject: Subject, outcome: Outcome, work: TextWork, top: int) -> None:
    told = likelihoods(outcome)
    expected = log_softmax(logits_after(subject, work.prompt, outcome.ids))
    spelled = spelling(subject.tokenizer)
    ended = outcome.finished.reason == "stop"
    assert len(told) == len(outcome.ids) - ended
    for one, row, token in zip(told, expected, outcome.ids, strict=False):
        assert one.token == spelled[token]
        assert one.logprob == pytest.approx(row[token], abs=2e-3)
        likeliest = sorted(row, reverse=True)[:top]
        assert [value for _, value in one.top] == pytest.approx(likeliest, abs=2e-3)
        assert all(value == pytest.approx(row[spelled.index(name)], abs=2e-3) for name, value in one.top if spelled.count(name) == 1)


def work(subject: Subject, number: int, **parameters: Any) -> TextWork:  # noqa: ANN401
    return cast("TextWork", subject.work(number, **parameters))


def test_each_row_tells_what_the_model_says_and_only_rows_that_ask(text: Subject) -> None:
    works = [
        work(text, number, size=10, logprobs=top, **kind) for number, (top, kind) in enumerate(zip(range(5), KINDS.values(), strict=True))
    ]
    quiet = [work(text, 10 + number, size=14) for number in range(3)]
    together = run(text.open(), *works, *quiet)
    for one in works:
        assert_true(text, together[one.id], one, one.logprobs or 0)
    for one in quiet:
        assert not likelihoods(together[one.id])


def test_telling_changes_no_answer(text: Subject) -> None:
    for number, kind in enumerate(KINDS.values()):
        plain = work(text, number, size=12, **kind)
        (silent,) = run(text.open(), plain).values()
        (telling,) = run(text.open(), replace(plain, logprobs=20)).values()
        assert same(silent, telling)


def test_rows_that_come_and_go_do_not_mix_up_who_said_what(text: Subject) -> None:
    one = Run(text.open(slots=3))
    works = [work(text, number, size=3 + 4 * (number % 3), logprobs=number % 2 * 3, **KINDS["hot"]) for number in range(9)]
    for number, each in enumerate(works):
        one.add(each)
        for _ in range(number % 3):
            one.step()
    gone = one.cancel("work-4")
    assert all(isinstance(item, Likelihood) for item in likelihoods(gone))
    outcomes = one.finish()
    for each in works:
        if each.id in outcomes:
            assert_true(text, outcomes[each.id], each, each.logprobs or 0)


@pytest.mark.parametrize("kind", ["hot", "penalised", "biased"])
def test_an_answer_taken_up_tells_the_rest_as_if_it_had_not_broken(text: Subject, kind: str) -> None:
    whole = work(text, 1, size=10, logprobs=2, **KINDS[kind])
    (outcome,) = run(text.open(), whole).values()
    for cut in (1, 4, 9):
        (rest,) = run(text.open(), replace(whole, published=tuple(outcome.ids[:cut]))).values()
        assert [one.token for one in likelihoods(rest)] == [one.token for one in likelihoods(outcome)[cut:]]
        values = [one.logprob for one in likelihoods(outcome)[cut:]]
        assert [one.logprob for one in likelihoods(rest)] == pytest.approx(values, abs=2e-3)


def test_the_token_that_ends_an_answer_is_no_part_of_it(text: Subject) -> None:
    asked = work(text, 1, size=20, logprobs=1)
    (whole,) = run(text.open(), asked).values()
    (ended,) = run(text.open(ends={whole.ids[5]}), asked).values()
    assert len(likelihoods(ended)) == len(ended.ids) - 1


def test_a_token_of_which_much_is_thought_is_drawn_and_one_that_is_banned_never(text: Subject) -> None:
    (wanted,) = run(text.open(), work(text, 2, size=8, temperature=1.0, logit_bias=((77, 100.0),))).values()
    assert set(wanted.ids) == {77}
    (free,) = run(text.open(), work(text, 2, size=8)).values()
    banned = tuple((token, -100.0) for token in set(free.ids))
    (other,) = run(text.open(), work(text, 2, size=8, logit_bias=banned)).values()
    assert not set(other.ids) & set(free.ids)


def test_a_bias_is_its_own_row_s_and_adds_to_the_logits(text: Subject) -> None:
    bias = tuple((token, 3.0) for token in range(0, 200, 2))
    biased = [work(text, number, size=8, temperature=0.0, logit_bias=bias) for number in (0, 2)]
    plain = [work(text, number, size=8) for number in (4, 5)]
    together = run(text.open(), *biased, *plain)
    for one in plain:
        assert same(together[one.id], next(iter(run(text.open(), one).values())))
    for one in biased:
        logits = logits_after(text, one.prompt, together[one.id].ids)
        logits[:, [token for token, _ in bias]] += 3.0
        assert together[one.id].ids == [int(token) for token in logits.argmax(axis=-1)]
