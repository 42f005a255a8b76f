"""Rows that are held to a grammar: what they say keeps to it, and nothing else about them or their company changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import jsonschema
import pytest

from app.engines.grammar import Grammar, Grammars
from app.engines.protocols import TextWork
from app.structure.answer import AnswerShape
from app.structure.schemas import check_schema
from tests.conformance.driver import Outcome, Run, run, same
from tests.conformance.subjects import Subject
from tests.conformance.test_likelihoods import assert_true
from tests.schemas import random_schema

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
COLOUR = {"enum": ["red", "green", "blue"]}
# What it says of a long text is more than llguidance's automaton may grow to.
TOO_MUCH = {"type": "string", "pattern": "^(\\w+\\s?)*$", "minLength": 5000, "maxLength": 100_000}


@pytest.fixture(params=["qwen3-f32", "qwen3_5-f32"])
def text(request: pytest.FixtureRequest, subject_named: Callable[[str], Subject]) -> Iterator[Subject]:
    """The text engine over a family that keeps every token, and over one that keeps a state."""
    subject = subject_named(request.param)
    yield subject
    subject.close_all()


def grammar(subject: Subject, schema: dict[str, Any]) -> Grammar:
    return subject.grammars.compile(AnswerShape(content=schema))


def work(subject: Subject, number: int, schema: dict[str, Any] | None, **parameters: Any) -> TextWork:  # noqa: ANN401
    plain = cast("TextWork", subject.work(number, size=parameters.pop("size", 120), **parameters))
    return replace(plain, grammar=None if schema is None else grammar(subject, schema))


def assert_kept(outcome: Outcome, schema: dict[str, Any]) -> None:
    assert outcome.finished.reason == "stop"
    jsonschema.validate(json.loads(outcome.text), schema)


def mixed(subject: Subject) -> list[TextWork]:
    """Return cold and hot, held and free works of several lengths in turn."""
    schemas: Sequence[dict[str, Any] | None] = (PERSON, None, COLOUR, None, PERSON, PERSON, None, {})
    return [work(subject, number, schema, size=60 if schema is None else 120) for number, schema in enumerate(schemas)]


def test_held_and_free_rows_each_get_their_solo_answer(text: Subject) -> None:
    works = mixed(text)
    together = run(text.open(), *works)
    staggered = Run(text.open(slots=5))
    for number, each in enumerate(works):
        staggered.add(each)
        for _ in range(number % 3):
            staggered.step()
    later = staggered.finish()
    for each in works:
        (alone,) = run(text.open(), each).values()
        assert same(alone, together[each.id])
        assert same(alone, later[each.id])
    for number, schema in ((0, PERSON), (2, COLOUR), (4, PERSON), (5, PERSON)):
        assert_kept(together[f"work-{number}"], schema)


def test_an_answer_taken_up_goes_on_where_it_was(text: Subject) -> None:
    for number in (0, 1):
        whole = work(text, number, PERSON, frequency_penalty=0.5)
        (outcome,) = run(text.open(), whole).values()
        assert_kept(outcome, PERSON)
        for cut in (1, 4, len(outcome.ids) - 1):
            (rest,) = run(text.open(), replace(whole, published=tuple(outcome.ids[:cut]))).values()
            assert rest.ids == outcome.ids[cut:]


def test_what_is_ruled_out_stays_out_whatever_a_bias_or_a_penalty_says(text: Subject) -> None:
    words = tuple((token, 100.0) for token in range(100, 300))
    for parameters in ({"logit_bias": words}, {"repetition_penalty": 5.0, "presence_penalty": 2.0, "frequency_penalty": 2.0}):
        (outcome,) = run(text.open(), work(text, 3, COLOUR, **parameters)).values()
        assert_kept(outcome, COLOUR)


def test_likelihoods_stay_the_model_s_own(text: Subject) -> None:
    asked = work(text, 2, PERSON, logprobs=3)
    (outcome,) = run(text.open(), asked).values()
    assert_true(text, outcome, asked, 3)


def test_a_stop_string_and_a_limit_end_a_held_answer_too(text: Subject) -> None:
    (stopped,) = run(text.open(), work(text, 2, PERSON, stop=('"age',))).values()
    assert stopped.finished.reason == "stop"
    assert stopped.text.startswith("{")
    assert '"age' not in stopped.text
    (short,) = run(text.open(), work(text, 2, PERSON, size=5)).values()
    assert (short.finished.reason, short.finished.completion_tokens) == ("length", 5)


def test_a_grammar_that_gives_out_fails_its_own_answer_and_says_why(text: Subject) -> None:
    broken = work(text, 8, TOO_MUCH)
    others = mixed(text)
    together = run(text.open(), broken, *others)
    assert "held to its schema" in str(together[broken.id].error)
    for each in others[:4]:
        assert same(together[each.id], next(iter(run(text.open(), each).values())))


def test_an_answer_that_its_grammar_never_let_through_is_not_taken_up(text: Subject) -> None:
    other = text.tokenizer.encode("never", add_special_tokens=False)
    (outcome,) = run(text.open(), replace(work(text, 1, COLOUR), published=tuple(other))).values()
    assert "held to its schema" in str(outcome.error)


def assert_schemas_are_kept(subject: Subject, seeds: Sequence[int]) -> None:
    schemas = {f"work-{seed}": random_schema(seed) for seed in seeds}
    for schema in schemas.values():
        check_schema(schema, param="schema")
    engine = subject.open(slots=32)
    works = [work(subject, seed, schemas[f"work-{seed}"], temperature=1.0, size=300, prompt=subject.tokens(seed % 9)) for seed in seeds]
    ended = {name: outcome for name, outcome in run(engine, *works).items() if outcome.finished.reason == "stop"}
    for name, outcome in ended.items():
        assert_kept(outcome, schemas[name])
    assert len(ended) >= len(seeds) / 2, f"only {len(ended)} of {len(seeds)} came to an end"


def test_random_schemas_are_kept_by_every_answer_that_comes_to_its_end(text: Subject) -> None:
    first = 0 if text.name == "qwen3-f32" else 60
    assert_schemas_are_kept(text, range(first, first + 60))


@pytest.mark.slow
def test_a_thousand_random_schemas_are_kept_by_every_answer_that_comes_to_its_end(text: Subject) -> None:
    first = 1000 if text.name == "qwen3-f32" else 1500
    for batch in range(first, first + 500, 100):
        assert_schemas_are_kept(text, range(batch, batch + 100))


def test_a_vocabulary_that_is_not_spelled_is_refused() -> None:
    with pytest.raises(Exception, match="tokens are no bytes"):
        Grammars((), (), [1]).compile(AnswerShape(content={}))
