"""An answer taken apart: no tag is shown and no character is lost, however the text is cut into pieces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.engines.answer import Answer
from app.engines.detokenize import ByteDetokenizer
from app.engines.held_calls import HeldCallReader
from app.engines.markup import Markup
from app.engines.protocols import Sampling, TextWork
from app.engines.vlm_library_tools import LibraryCallReader, call_tags
from app.jobs.channel_order import packed_runs, unpacked_runs
from app.jobs.streams import StreamEntry
from app.structure.call_stream import is_whole_call
from app.structure.tool_syntax import ToolSpec, ToolSyntax

EOS = 256
THINK = ("<think>", "</think>")
CITY_AND_DAYS = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": CITY_AND_DAYS}}]
THOUGHT = "<think>\nIs a < b?\n\nNo </thin\n</think>\n\n"
WEATHER = {"city": 'Lis"bon<é></tool_call> ', "days": 2}
CALLS = {  # a string may have what looks like the end of the call
    "json_tools": '\n{"name": "weather", "arguments": {"city": "Lis\\"bon<é></tool_call> ", "days": 2}}\n',
    "qwen3_coder": (
        '\n<function=weather>\n<parameter=city>\nLis"bon<é></tool_call> \n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n'
    ),
}


def markup(syntax: str | None = None, **more: Any) -> Markup:  # noqa: ANN401 - fields of Markup
    if syntax is None:
        return Markup(think=THINK, **more)
    if syntax not in CALLS:
        return Markup(think=THINK, call=call_tags(syntax), reader=partial(LibraryCallReader, syntax, TOOLS), **more)
    held = (ToolSyntax("json" if syntax == "json_tools" else "qwen3_coder"), (ToolSpec("weather", CITY_AND_DAYS),))
    return Markup(think=THINK, call=call_tags(syntax), reader=partial(HeldCallReader, *held), whole=partial(is_whole_call, *held), **more)


def read(
    pieces: Sequence[str], marks: Markup, *, stop: tuple[str, ...] = (), ended: bool = True
) -> tuple[str, str, list[list[str]], Answer]:
    """Return what an answer of these pieces, a token each, says, thinks and calls."""
    work = TextWork("w", (1,), len(pieces) + ended, Sampling(seed=1), stop, markup=marks)
    spelled = [piece.encode() for piece in pieces]
    answer = Answer(work, lambda: ByteDetokenizer([*spelled, b""], strip_first_space=False), frozenset({len(pieces)}))
    said, thought, calls = "", "", dict[int, list[str]]()
    for token in range(len(pieces) + ended):
        if answer.finish is None:
            shown = answer.take(token)
            said += shown.text
            thought += shown.reasoning
            for number, name, arguments in shown.calls:
                call = calls.setdefault(number, ["", ""])
                call[0] += name
                call[1] += arguments
    return said, thought, [calls[number] for number in sorted(calls)], answer


def cut_at(text: str, places: Sequence[int]) -> list[str]:
    bounds = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[begin:end] for begin, end in pairwise(bounds)]


places = st.lists(st.integers(0, 10_000), max_size=12)


@settings(max_examples=150, deadline=None)
@given(places, st.sampled_from([*CALLS]), st.integers(0, 2), st.sampled_from(["", THOUGHT]))
@example([*range(10_000)], "json_tools", 2, THOUGHT)
@example([*range(10_000)], "qwen3_coder", 2, THOUGHT)
def test_no_cut_shows_a_tag_or_loses_a_character(cuts: list[int], syntax: str, calls: int, before: str) -> None:
    start, end = call_tags(syntax)
    text = before + "I say <b>é</b>.\n" + "\n".join([start + CALLS[syntax] + end] * calls)
    said, thought, called, answer = read(cut_at(text, cuts), markup(syntax))
    assert thought == before.removeprefix("<think>\n").removesuffix("\n</think>\n\n")
    assert said == "I say <b>é</b>." + ("" if calls else "\n")
    assert [(name, json.loads(arguments)) for name, arguments in called] == [("weather", WEATHER)] * calls
    assert answer.finish == "stop"


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="<>/thinkool_ca\n é", max_size=40), places)
def test_what_only_looks_like_markup_is_text(text: str, cuts: list[int]) -> None:
    if any(tag in text for tag in (*THINK, *call_tags("json_tools"))):
        return
    said, thought, called, _ = read(cut_at(text, cuts) if text else [], markup("json_tools"))
    assert (said, thought, called) == (text, "", [])


def test_a_tag_that_is_never_closed_leaves_all_of_it_thought() -> None:
    assert read(["<think>", "a ", "b"], markup())[:2] == ("", "a b")
    assert read(["<think>", "a ", "b"], markup(), ended=False)[:2] == ("", "a b")
    assert read(["a", " b", "</think>", "c"], markup(opened=True))[:2] == ("c", "a b")


def test_tokens_that_are_thought_are_counted_with_their_tags() -> None:
    assert read(["<think>", "a", "b", "</think>", "c"], markup())[3].reasoning_tokens == 4
    assert read(["a", "b"], markup())[3].reasoning_tokens == 0


def test_a_tag_without_its_partner_is_not_shown() -> None:
    assert read(["a", "</think>", "b"], markup())[:2] == ("ab", "")
    assert read(["a", "</tool_call>", "b"], markup("json_tools"))[0] == "ab"


def test_a_stop_string_stops_what_is_said_and_nothing_else() -> None:
    said, thought, _, answer = read(["<think>", "x END y", "</think>", "a\n", "END", "b"], markup(), stop=("END",))
    assert (said, thought, answer.finish) == ("a\n", "x END y", "stop")


def test_arguments_come_as_they_are_made() -> None:
    pieces = ["<tool_call>", '{"name": "weather", "argu', 'ments": {"ci', 'ty": "Lis', 'bon"}', "}", "</tool_call>"]
    work = TextWork("w", (1,), 100, Sampling(seed=1), markup=markup("json_tools"))
    answer = Answer(work, lambda: ByteDetokenizer([piece.encode() for piece in pieces], strip_first_space=False), frozenset())
    assert [shown.calls for token in range(len(pieces)) if (shown := answer.take(token)).calls] == [
        ((0, "weather", '{"ci'),),
        ((0, "", 'ty": "Lis'),),
        ((0, "", 'bon"}'),),
    ]


def test_an_answer_of_one_call_ends_with_it() -> None:
    call = ["<tool_call>", CALLS["json_tools"], "</tool_call>"]
    _, _, called, answer = read([*call, *call], markup("json_tools", one_call=True))
    assert len(called) == 1
    assert (answer.finish, len(answer.ids)) == ("stop", 3)


def test_what_stands_between_the_tags_of_a_call_and_is_none_is_said() -> None:
    text = '[TOOL_CALLS]weather[ARGS]{"city": 5'
    assert read([text], markup("mistral"))[0] == text
    assert read([text], markup("mistral"), ended=False)[0] == ""  # it was cut off, and half a call says nothing
    assert read([text + "}"], markup("mistral"))[2] == [["weather", '{"city": 5}']]


@pytest.mark.parametrize("syntax", ["gemma4", "mistral", "kimi_k2", "glm47", "pythonic", "harmony"])
def test_every_syntax_has_a_parser_that_says_no_to_nonsense(syntax: str) -> None:
    start, end = call_tags(syntax)
    _, _, called, _ = read([start + "this is no call" + (end or "\n"), "and on"], markup(syntax))
    assert called == []


def test_text_in_tags_comes_as_it_is_made_and_other_values_when_they_are_whole() -> None:
    first = "\n<function=weather>\n<parameter=city>\nLis"
    second = "\n</parameter>\n<parameter=days>\n1"
    pieces = ["<tool_call>", first, "bon\n</para", "de", second, "2", "\n</parameter>\n</function>\n", "</tool_call>"]
    work = TextWork("w", (1,), 100, Sampling(seed=1), markup=markup("qwen3_coder"))
    answer = Answer(work, lambda: ByteDetokenizer([piece.encode() for piece in pieces], strip_first_space=False), frozenset())
    told = [call.arguments for token in range(len(pieces)) for call in answer.take(token).calls]
    assert told == ['{"city": "Lis', "bon", "\\n</parade", '"', ', "days": 12', "}"]


@settings(max_examples=60, deadline=None)
@given(places, st.sampled_from(["", THOUGHT]))
@example([*range(10_000)], THOUGHT)
def test_nothing_in_data_is_a_tag(cuts: list[int], before: str) -> None:
    data = '{"a": "<think>b</think>\\n<tool_call>\\n</tool_call>"}'
    said, _, called, _ = read(cut_at(before + data, cuts), markup("json_tools", data=True))
    assert (said, called) == (data, [])
    assert read(["<tool_call>", CALLS["json_tools"], "</tool_call>"], markup("json_tools", data=True))[2][0][0] == "weather"


def test_where_a_call_must_be_made_nothing_is_said_and_nothing_stops() -> None:
    half = read(["\n", "<tool", "_call"], markup("json_tools", only_calls=True), ended=False)
    assert half[0] == ""
    said, _, called, _ = read(
        ["\n<tool_call>", CALLS["json_tools"], "</tool_call>\n"], markup("json_tools", only_calls=True), stop=("call",)
    )
    assert (said, len(called)) == ("", 1)


def test_what_one_token_shows_keeps_its_order() -> None:
    work = TextWork("w", (1,), 100, Sampling(seed=1), markup=markup("json_tools"))
    pieces = ["before<tool_call>" + CALLS["json_tools"] + "</tool_call>after"]
    answer = Answer(work, lambda: ByteDetokenizer([piece.encode() for piece in pieces], strip_first_space=False), frozenset())
    shown = answer.take(0)
    entry = StreamEntry(
        id="1-0", type="tokens", attempt=1, text=shown.text, calls=shown.calls, runs=unpacked_runs(packed_runs(shown.runs) or "")
    )
    parts = [(part.text, "".join(arguments for _, _, arguments in part.calls)) for part in entry.parts()]
    assert [text for text, _ in parts] == ["before", "", "after"]
    assert json.loads(parts[1][1]) == WEATHER


def test_the_usual_order_is_not_written_down() -> None:
    assert packed_runs([("r", 3), ("t", 2), ("t", 0), ("t", 1), ("c", 1)]) is None
    assert packed_runs([("t", 2), ("c", 1), ("c", 2), ("t", 1)]) == "t2 c3 t1"
