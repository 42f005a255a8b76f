"""Chats in a model's own format: tools, calls and their answers, thinking."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.engines.protocols import Failed, Finished, TextWork, Tokens
from app.engines.registry import open_frontend
from app.errors import InvalidRequest
from app.jobs.calls import CallDelta, joined_calls
from app.models.spec import ModelSpec
from tests.tiny.build import build

CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER: dict[str, Any] = {"type": "function", "function": {"name": "weather", "description": "Says the weather.", "parameters": CITY}}
TURNS_ALONE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
HELLO = {"role": "user", "content": "Hello"}


class Model:
    """A frontend, and what its prompts say."""

    def __init__(self, name: str, root: Path, template: str | None = None) -> None:
        directory = build(name, root)
        if template is not None:
            (directory / "chat_template.jinja").write_text(template)
        self.name = name
        self.frontend = open_frontend(ModelSpec(id=name, repo=str(directory), tasks=("chat",)), directory)
        self.tokenizer = self.frontend._tokenizing.tokenizer  # type: ignore[attr-defined]  # noqa: SLF001

    def work(self, **request: Any) -> TextWork:  # noqa: ANN401
        work = self.frontend.prepare("w", "chat", {"messages": [HELLO], **request}, seed=1)
        assert isinstance(work, TextWork)
        return work

    def prompt(self, **request: Any) -> str:  # noqa: ANN401
        return str(self.tokenizer.decode(self.work(**request).prompt))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model("qwen3-f32", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def coder(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model("qwen3_5-f32", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A template that knows no tools."""
    return Model("llama-f32", tmp_path_factory.mktemp("models"), TURNS_ALONE)


CALLED: list[dict[str, Any]] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "How is it in Oslo and Rome?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "5 degrees"},
    {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "20 degrees"}]},
]


def test_a_template_that_knows_tools_is_told_of_them_and_of_calls_in_its_own_way(qwen: Model, coder: Model) -> None:
    told = qwen.prompt(messages=CALLED, tools=[WEATHER])
    assert told.count('"name": "weather"') == 2
    assert '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>' in told
    assert "<tool_response>\n20 degrees\n</tool_response>" in told
    assert "<function=weather>\n<parameter=city>\nOslo\n</parameter>" in coder.prompt(messages=CALLED, tools=[WEATHER])


def test_arguments_that_broke_off_are_shown_as_the_text_that_they_are(qwen: Model, coder: Model) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Os'}}
    turns = [*CALLED[:2], {"role": "assistant", "content": None, "tool_calls": [call]}, *CALLED[3:4]]
    assert '"arguments": {"arguments": "{\\"city\\": \\"Os"}}' in qwen.prompt(messages=turns, tools=[WEATHER])
    assert '<parameter=arguments>\n{"city": "Os\n</parameter>' in coder.prompt(messages=turns, tools=[WEATHER])


def test_a_template_that_knows_none_is_told_in_words(plain: Model) -> None:
    told = plain.prompt(messages=CALLED, tools=[WEATHER])
    system, asked, called, answered, last = told.split("<|im_start|>")[1:]
    assert system.startswith("system\nBe kind.\n\nYou can call functions.")
    assert '{"name": "weather", "description": "Says the weather."' in system
    assert asked.startswith("user")
    assert called == 'assistant\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call><|im_end|>\n'
    assert answered.count("<tool_response>") == 2, "turns alternate: both answers are one turn"
    assert last == "assistant\n"
    assert "You can call functions." not in plain.prompt(messages=CALLED), (
        "what was called is told also where nothing may be called any more"
    )


def test_only_tools_that_may_be_called_are_told_and_read(qwen: Model) -> None:
    other = {"type": "function", "function": {"name": "other"}}
    named = {"type": "function", "function": {"name": "other"}}
    told = qwen.prompt(tools=[WEATHER, other], tool_choice=named)
    assert '"other"' in told
    assert '"weather"' not in told
    none: list[dict[str, Any]] = [{"tools": [WEATHER], "tool_choice": "none"}, {"tools": []}, {}]
    for request in none:
        assert "weather" not in qwen.prompt(**request)
        assert qwen.work(**request).markup.call is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "asked",
    [
        {"enable_thinking": True},
        {"reasoning_effort": "low"},
        {"thinking_budget": 9},
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"enable_thinking": True, "reasoning_effort": "none"},
    ],
)
def test_a_model_thinks_when_it_is_asked_to(qwen: Model, coder: Model, asked: dict[str, Any]) -> None:
    assert qwen.prompt(**asked).endswith("assistant\n")
    assert coder.work(**asked).markup.opened  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "asked", [{}, {"reasoning_effort": "none"}, {"thinking_budget": 0}, {"enable_thinking": False, "thinking_budget": 9}]
)
def test_a_model_does_not_think_unless_it_is_asked_to(qwen: Model, asked: dict[str, Any]) -> None:
    assert qwen.prompt(**asked).endswith("<think>\n\n</think>\n\n")


def test_an_effort_is_so_many_tokens(qwen: Model) -> None:
    budgets = [qwen.work(reasoning_effort=effort).thinking for effort in ("minimal", "low", "high")]
    assert [budget and budget.tokens for budget in budgets] == [512, 2048, None]


def test_arguments_that_the_template_cannot_show_are_a_bad_request(qwen: Model) -> None:
    with pytest.raises(InvalidRequest, match="template"):
        qwen.work(messages=[HELLO], chat_template_kwargs={"messages": []})


def run(model: Model, *works: TextWork) -> dict[str, tuple[str, str, Finished]]:
    """Return what each work thinks and says, and its end, all of them in one batch."""
    engine = next(engine for engine in model.frontend.open() if engine is not None)
    try:
        for work in works:
            engine.add(work)
        thought, said, ends = dict[str, str](), dict[str, str](), dict[str, Finished]()
        while engine.has_work:
            for event in engine.step():
                if isinstance(event, Tokens):
                    thought[event.id] = thought.get(event.id, "") + event.reasoning
                    said[event.id] = said.get(event.id, "") + event.text
                elif isinstance(event, Finished):
                    ends[event.id] = event
        return {work.id: (thought.get(work.id, ""), said.get(work.id, ""), ends[work.id]) for work in works}
    finally:
        engine.close()


@pytest.mark.parametrize("name", ["qwen", "coder"])
def test_a_budget_ends_the_thought_and_the_answer_follows_alone_as_in_company(name: str, request: pytest.FixtureRequest) -> None:
    model: Model = request.getfixturevalue(name)
    begins: dict[str, Any] = {} if name == "coder" else {"logit_bias": {"510": 100}}  # it begins every sentence with a thought
    work = model.work(thinking_budget=6, max_tokens=24, temperature=0, **begins)
    others = [replace(model.work(max_tokens=20, seed=seed), id=f"other {seed}") for seed in range(3)]
    thought, said, end = run(model, work)["w"]
    assert end.completion_tokens == 24
    if name == "coder":
        assert 6 < end.reasoning_tokens <= 9
        assert thought
        assert said
    assert run(model, work, *others)["w"] == (thought, said, end)
    resumed = replace(work, published=tuple(ids_of(model, work)[:8]))
    assert run(model, resumed)["w"][2] == end


def ids_of(model: Model, work: TextWork) -> list[int]:
    engine = next(engine for engine in model.frontend.open() if engine is not None)
    try:
        engine.add(work)
        ids: list[int] = []
        while engine.has_work:
            ids.extend(token for event in engine.step() if isinstance(event, Tokens) for token in event.ids)
        return ids
    finally:
        engine.close()


CITY_AND_DAYS = {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "minimum": 0, "maximum": 9}}
CLOSED = {"type": "object", "properties": CITY_AND_DAYS, "required": ["city", "days"], "additionalProperties": False}
FORECAST: dict[str, Any] = {"type": "function", "function": {"name": "forecast", "parameters": CLOSED, "strict": True}}
NOW: dict[str, Any] = {"type": "function", "function": {"name": "now"}}


@pytest.mark.parametrize("name", ["qwen", "coder", "plain"])
@pytest.mark.parametrize("thinks", [False, True])
def test_a_call_that_must_be_made_is_made_and_right_alone_as_in_company(name: str, thinks: bool, request: pytest.FixtureRequest) -> None:  # noqa: FBT001
    model: Model = request.getfixturevalue(name)
    asked: dict[str, Any] = {"tools": [NOW, FORECAST], "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 220}
    thought = {"thinking_budget": 5} if thinks else {}
    works = [replace(model.work(**asked, **thought, temperature=1, seed=seed), id=str(seed)) for seed in range(6)]
    answers = calls_of(model, *works, model.work(max_tokens=30))
    made = [calls for calls, end in answers.values() if end.reason == "stop" and calls]
    assert len(made) >= 3
    for calls in made:
        ((tool, arguments),) = calls
        given = json.loads(arguments)
        if tool == "now":
            assert given == {}
        else:
            assert (tool, set(given)) == ("forecast", {"city", "days"})
            assert 0 <= given["days"] <= 9
            assert len(given["city"]) <= 12
    assert calls_of(model, works[0])["0"] == answers["0"]
    if thinks and name != "plain":
        assert answers["0"][1].reasoning_tokens >= 5


def calls_of(model: Model, *works: TextWork) -> dict[str, tuple[list[tuple[str, str]], Finished]]:
    """Return the calls of each work, and its end, all of them in one batch."""
    engine = next(engine for engine in model.frontend.open() if engine is not None)
    try:
        for work in works:
            engine.add(work)
        pieces, ends = dict[str, list[CallDelta]](), dict[str, Finished]()
        while engine.has_work:
            for event in engine.step():
                if isinstance(event, Tokens):
                    pieces.setdefault(event.id, []).extend(event.calls)
                elif isinstance(event, Finished):
                    ends[event.id] = event
                assert not isinstance(event, Failed), event
        return {work.id: (joined_calls(pieces.get(work.id, [])), ends[work.id]) for work in works}
    finally:
        engine.close()


@pytest.mark.parametrize("name", ["qwen", "coder"])
def test_what_looks_like_a_thought_in_data_is_none(name: str, request: pytest.FixtureRequest) -> None:
    model: Model = request.getfixturevalue(name)
    word = "<think>a</think>b</tool_call>"
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": {"a": word}}}}
    work = model.work(response_format=schema, reasoning_effort="none", max_tokens=120, temperature=0)
    _, said, end = run(model, work)["w"]
    assert (json.loads(said), end.reason) == ({"a": word}, "stop")
    drawn = [
        replace(model.work(response_format={"type": "json_object"}, thinking_budget=5, max_tokens=80, seed=n), id=str(n)) for n in range(9)
    ]
    assert {end.reason for _, _, end in run(model, *drawn).values()} <= {"stop", "length"}
