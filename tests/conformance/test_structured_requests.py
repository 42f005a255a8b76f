"""From a request's response_format to what the engine holds the answer to."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from app.engines.protocols import Frontend, TextWork
from tests.conformance.driver import run
from tests.conformance.subjects import Subject

HELLO = [{"role": "user", "content": "Hello there"}]
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
WANTED = {"type": "json_schema", "json_schema": {"name": "it", "schema": SCHEMA}}


@pytest.fixture(scope="module")
def subject(subject_named: Callable[[str], Subject]) -> Subject:
    return subject_named("qwen3-f32")


@pytest.fixture(scope="module")
def chat(subject: Subject) -> Frontend:
    return subject.frontend()


def prepared(frontend: Frontend, **request: Any) -> TextWork:  # noqa: ANN401
    work = frontend.prepare("w", "chat", {"messages": HELLO, "max_tokens": 40, **request}, seed=1)
    assert isinstance(work, TextWork)
    return work


def test_text_is_not_held_to_anything(chat: Frontend) -> None:
    for wanted in ({}, {"response_format": None}, {"response_format": {"type": "text"}}):
        assert prepared(chat, **wanted).grammar is None


def test_a_schema_holds_the_answer_and_the_end_token_ends_it(chat: Frontend, subject: Subject) -> None:
    (outcome,) = run(subject.open(), prepared(chat, response_format=WANTED)).values()
    assert isinstance(json.loads(outcome.text)["ok"], bool)
    assert outcome.finished.reason == "stop"
    (outcome,) = run(subject.open(), prepared(chat, response_format={"type": "json_object"}, max_tokens=4)).values()
    assert outcome.text.startswith("{")


def test_the_same_grammar_is_compiled_once(chat: Frontend) -> None:
    assert prepared(chat, response_format=WANTED).grammar is prepared(chat, response_format=WANTED, seed=7).grammar


def test_the_answer_may_think_before_it_is_held(chat: Frontend, subject: Subject) -> None:
    grammar = prepared(chat, response_format=WANTED, chat_template_kwargs={"enable_thinking": True}).grammar
    assert grammar is not None
    matcher = grammar.matcher()
    text = '<think>{a}</think>\n\n{"ok": true}'
    assert all(matcher.consume_token(token) for token in subject.tokenizer.encode(text, add_special_tokens=False))
    assert matcher.is_accepting()
