"""What an answer may and may not be, by its shape: text, JSON, calls, and the thinking before them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.structure.answer import AnswerShape, ToolSpec, ToolSyntax, grammar_of
from tests.grammars import accepts, stops_at

CITY = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}
TOOLS = (ToolSpec("weather", CITY), ToolSpec("weather_map", None), ToolSpec("any", {"type": "object"}))
JSON_CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bergen"}}\n</tool_call>'
TAGGED_CALL = "<tool_call>\n<function=weather>\n<parameter=city>\nBergen\n</parameter>\n</function>\n</tool_call>"
SYNTAXES = {"json": JSON_CALL, "qwen3_coder": TAGGED_CALL}
THINK = ("<think>", "</think>")
PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": False}


def with_calls(form: Any, choice: Any = "auto", **other: Any) -> AnswerShape:  # noqa: ANN401
    return AnswerShape(calls=ToolSyntax(form), tools=TOOLS, choice=choice, **other)


@pytest.fixture(params=SYNTAXES)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


FREE = ["", "a < b, <tool", "<think>", "x</think>y", "</tool_call>", '{"name": 1}', "日本 🙂\n\n", "<tool_ca<tool_"]


@pytest.mark.parametrize("think", ["no", "may", "open"])
@pytest.mark.parametrize("text", FREE)
def test_free_text_forbids_nothing_but_a_call_that_is_not_well_formed(form: str, think: Any, text: str) -> None:  # noqa: ANN401
    shape = with_calls(form, think=think, think_tags=THINK)
    call = SYNTAXES[form]
    assert accepts(shape, text)
    thought = {"no": "", "may": "\n<think>", "open": ""}[think] + ("so <tool_call> be it</think>" if think != "no" else "")
    assert accepts(shape, thought + text)
    assert accepts(shape, thought + text + call)
    assert accepts(shape, f"{thought}{call}{text}{call}\n{call}{text}")
    assert stops_at(shape, f"{thought}{text}<tool_call>Hello") == "Hello"
    assert stops_at(shape, thought + text + call.replace("weather", "nothing")) not in {None, ""}


def test_an_answer_may_end_while_it_thinks_where_it_may_be_text(form: str) -> None:
    for think, text in (("may", "<think>I wonder <tool_call>"), ("open", "I wonder <tool_call>")):
        assert accepts(with_calls(form, think=think, think_tags=THINK), text)
        assert stops_at(with_calls(form, "required", think=think, think_tags=THINK), text) == ""
        assert stops_at(AnswerShape(think=think, think_tags=THINK, content={}), text) == ""  # type: ignore[arg-type]


def test_a_call_that_is_required_stands_alone(form: str) -> None:
    shape, call = with_calls(form, "required"), SYNTAXES[form]
    assert all(accepts(shape, text) for text in (call, f"\n{call}\n", f"{call}\n{call}", call + call))
    assert not any(accepts(shape, text) for text in ("", "Hello.", f"So: {call}", f"{call} there", call[:-1]))
    thinking = with_calls(form, "required", think="may", think_tags=THINK)
    assert accepts(thinking, call)
    assert accepts(thinking, f"<think>call <tool_call> it</think>\n\n{call}")


def test_one_call_at_most_where_calls_are_not_to_be_parallel(form: str) -> None:
    call = SYNTAXES[form]
    for choice in ("auto", "required"):
        shape = with_calls(form, choice, parallel=False)
        assert accepts(shape, f"{call}\n")
        assert not accepts(shape, call + call)


def test_a_tool_that_is_named_is_the_only_one(form: str) -> None:
    shape = AnswerShape(calls=ToolSyntax(form), tools=TOOLS[1:2], choice="required")  # type: ignore[arg-type]
    nothing = {
        "json": '<tool_call>\n{"name": "weather_map", "arguments": {}}\n</tool_call>',
        "qwen3_coder": "<tool_call>\n<function=weather_map>\n</function>\n</tool_call>",
    }
    assert accepts(shape, nothing[form])
    assert not accepts(shape, SYNTAXES[form])


def test_a_choice_of_none_leaves_text_without_a_marker(form: str) -> None:
    shape = with_calls(form, "none")
    assert accepts(shape, "Hello <tool_cal")
    assert stops_at(shape, "Hello <tool_call>") == ">"
    assert accepts(with_calls(form, "none", think="may", think_tags=THINK), "<think><tool_call></think>Hello.")


def test_content_is_json_of_its_schema_and_nothing_around_it() -> None:
    shape = AnswerShape(content=PERSON)
    assert all(accepts(shape, text) for text in ('{"name":"Ida"}', '{"name": "I\\nda"}', '{\n  "name": "日本"\n}'))
    refused = ("", "{}", '{"name": 1}', '{"name": "Ida"} ', ' {"name": "Ida"}', '{"name": "Ida", "age": 3}', '{"\\u006eame": 1}', "Ida")
    assert not any(accepts(shape, text) for text in refused)
    anything = AnswerShape(content={})
    assert accepts(anything, json.dumps({"a": [1, 2.5, None, {"b": "c"}], "d": True}))
    assert not accepts(anything, "[1]")


def test_content_comes_after_the_thinking() -> None:
    for think, thought in (("may", "<think>it is {</think>\n\n"), ("open", "it is {</think>\n\n"), ("may", "")):
        shape = AnswerShape(think=think, think_tags=THINK, content=PERSON)  # type: ignore[arg-type]
        assert accepts(shape, thought + '{"name": "Ida"}')
        assert not accepts(shape, thought + "Ida")


def test_calls_or_content_but_not_both(form: str) -> None:
    shape, call = with_calls(form, content=PERSON), SYNTAXES[form]
    assert all(accepts(shape, text) for text in (call, f"{call}\n{call}", '{"name": "Ida"}'))
    assert not any(accepts(shape, text) for text in ("Ida", "", call + '{"name": "Ida"}', '{"name": "Ida"}' + call))


def test_a_shape_that_forbids_nothing_says_so() -> None:
    assert AnswerShape(think="may", think_tags=THINK).is_free
    assert not AnswerShape(content={}).is_free
    assert all(accepts(AnswerShape(), text) for text in FREE)
    with pytest.raises(ValueError, match="tags"):
        grammar_of(AnswerShape(think="open", content={}))
