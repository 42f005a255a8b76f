"""Which lines of a batch may begin, and where they are in a file that is larger than what is remembered of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.batches.input import MOST_LINES, UnusableInput, scan
from app.api.batches.windows import Windows


@given(st.lists(st.integers(0, 3), max_size=400), st.sets(st.integers(0, 399)), st.data())
def test_every_line_begins_once_few_of_a_model_at_a_time_and_no_model_waits_for_another(
    model_of: list[int], over: set[int], data: st.DataObject
) -> None:
    windows = Windows(model_of, over, ())
    begun: list[int] = []
    under_way: list[int] = []
    while not windows.all_ended:
        taken = windows.take(data.draw(st.sampled_from((1, 7, 1000))))
        gives_back = data.draw(st.booleans())
        if taken and gives_back:
            windows.give_back(taken[1:])
            taken = taken[:1]
        begun += taken
        under_way += taken
        count = Counter(model_of[number] for number in under_way)
        assert max(count.values(), default=0) <= 64
        more = windows.take(1000)
        windows.give_back(more)
        left = Counter(model_of) - Counter(model_of[number] for number in {*begun, *over} if number < len(model_of))
        assert {model_of[number] for number in more} == {model for model in left if count[model] < 64}
        for _ in range(data.draw(st.integers(1, 100))):
            if under_way:
                windows.end(under_way.pop(0))
    assert sorted(begun) == [number for number in range(len(model_of)) if number not in over]


def test_what_is_under_way_after_a_takeover_counts() -> None:
    windows = Windows([0] * 100, set(range(60)), range(60))
    assert windows.take(1000) == [60, 61, 62, 63]
    for number in range(60):
        windows.end(number)
    assert windows.take(1000) == list(range(64, 100))


def test_requests_are_found_where_they_are_and_too_many_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    request = {"method": "POST", "url": "/v1/embeddings", "body": {"model": "ä", "input": "x"}}
    lines = [json.dumps({"custom_id": f"{number}", **request}, ensure_ascii=False) for number in range(MOST_LINES + 1)]
    file.write_text("\r\n".join(lines[:3]) + "\n\n" + "\n".join(lines[3:10]), "utf-8", newline="")
    found = scan(file, "/v1/embeddings", str, 1000)
    assert (len(found), found.models) == (10, ["ä"])
    assert [found.read(number)["custom_id"] for number in range(10)] == [f"{number}" for number in range(10)]
    file.write_text("\n".join(lines), "utf-8")
    with pytest.raises(UnusableInput) as refused:
        scan(file, "/v1/embeddings", str, 1000)
    assert [error.code for error in refused.value.errors] == ["too_many_requests"]
