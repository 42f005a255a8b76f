"""What a rerank request may say, and what its answer is."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from app.actors.ranking import ranked_list
from app.api.validation import validated
from app.engines.ranking import Ranked
from app.errors import InvalidRequest
from app.jobs.claims import Claimed
from app.jobs.record import JobKind, Lane
from app.jobs.rerank_requests import RerankRequest

DOCUMENTS = ["first", {"text": "second"}, "third", "fourth"]
SCORES = [0.25, 0.75, 0.5, 0.75]


def answer(**request: Any) -> dict[str, Any]:  # noqa: ANN401
    asked = validated(RerankRequest, {"query": "which?", "documents": DOCUMENTS, **request}).model_dump(mode="json", exclude_unset=True)
    claim = Claimed(
        id="job_0a",
        kind=JobKind.RERANK,
        model="m",
        lane=Lane.INTERACTIVE,
        attempt=1,
        token="t",
        seed=1,
        suspect=False,
        request=asked,
    )
    made = ranked_list(claim, Ranked("w", np.array(SCORES, dtype=np.float32), prompt_tokens=40))
    body: dict[str, Any] = json.loads(made.output)
    assert made.usage == body["usage"]
    return body


def test_the_best_comes_first_and_equals_stay_in_their_order_each_with_its_text() -> None:
    assert answer() == {
        "id": "rerank-0a",
        "model": "m",
        "results": [
            {"index": 1, "relevance_score": 0.75, "document": {"text": "second"}},
            {"index": 3, "relevance_score": 0.75, "document": {"text": "fourth"}},
            {"index": 2, "relevance_score": 0.5, "document": {"text": "third"}},
            {"index": 0, "relevance_score": 0.25, "document": {"text": "first"}},
        ],
        "usage": {"prompt_tokens": 40, "total_tokens": 40},
    }


@pytest.mark.parametrize(
    ("top_n", "indices"), [(1, [1]), (2, [1, 3]), (4, [1, 3, 2, 0]), (99, [1, 3, 2, 0]), (0, [1, 3, 2, 0]), (None, [1, 3, 2, 0])]
)
def test_so_many_are_returned_as_were_asked_for(top_n: int | None, indices: list[int]) -> None:
    assert [result["index"] for result in answer(top_n=top_n)["results"]] == indices


def test_texts_are_left_out_where_nobody_wants_them() -> None:
    assert set(answer(return_documents=False)["results"][0]) == {"index", "relevance_score"}
    assert "document" in answer(return_documents=None)["results"][0]


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": ["a"]}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "one"}, "documents"),
        ({"documents": ["a"] * 2049}, "documents"),
        ({"documents": ["a", 5]}, "documents.1"),
        ({"documents": ["a", {"title": "b"}]}, "documents.1.text"),
        ({"top_n": -1}, "top_n"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc"),
        ({"truncate_prompt_tokens": -2}, "truncate_prompt_tokens"),
        ({"instruction": ""}, "instruction"),
    ],
)
def test_a_wrong_request_says_what_to_change(wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validated(RerankRequest, {"query": "which?", "documents": DOCUMENTS, **wrong})
    assert caught.value.param == param
