"""What was read of pages becomes the answer that was asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.actors.pages import blank_page, ocr_body, page_facts, page_of, read_page
from app.actors.runs import Choice, Run
from app.engines.protocols import Finished, FinishReason, Sampling, TextWork
from app.jobs.claims import Claimed
from app.jobs.record import JobKind, Lane


def run_of(text: str, **request: Any) -> Run:  # noqa: ANN401 - any field of a request
    claim = Claimed(id="job_1", kind=JobKind.OCR, model="m", lane=Lane.BATCH, token="t", attempt=1, seed=1, suspect=False, request=request)
    return Run(claim, choices=[Choice(TextWork("w", (1,), 9, Sampling(0)), [text[:3], text[3:]])])


@pytest.mark.parametrize(
    ("reason", "looped", "word"), [("stop", False, None), ("length", False, "max_tokens"), ("length", True, "repeats")]
)
def test_a_text_that_is_cut_off_says_why(reason: FinishReason, looped: bool, word: str | None) -> None:  # noqa: FBT001 - a parameter of the test
    page, spent = page_of(run_of(" A word. ", page=7), Finished("w", reason, 10, 5, 0, looped))
    assert (page["page"], page["text"], page["markdown"], page["finish_reason"]) == (7, "A word.", "A word.", reason)
    assert [word in warning and "Page 7" in warning for warning in page["warnings"]] == ([True] if word else [])
    assert spent == {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def test_a_table_is_markdown_of_its_task() -> None:
    page, _ = page_of(run_of("<fcel>a<fcel>b<nl>", task="table"), Finished("w", "stop", 1, 1, 0))
    assert (page["text"], page["markdown"]) == ("a\tb", "| a | b |\n| --- | --- |")


@pytest.mark.parametrize("form", [None, "json", "text", "markdown"])
def test_pages_that_others_read_are_put_together(form: str | None) -> None:
    kept = [page_facts(*page_of(run_of(f"Text {n}", page=n), Finished("w", "stop", n, 2, 0))) for n in (1, 3)]
    kept.insert(1, page_facts(*blank_page(2)))
    whole = ocr_body((read_page(one.output) for one in kept), "m", {"response_format": form} if form else {})
    assert whole.usage == {"prompt_tokens": 4, "completion_tokens": 4, "total_tokens": 8, "pages": 3}
    assert [one.usage["pages"] for one in kept] == [1, 1, 1]
    if form in {"text", "markdown"}:
        assert (whole.output, whole.media_type.partition(";")[2].strip()) == (b"Text 1\n\nText 3\n", "charset=utf-8")
    else:
        body = json.loads(whole.output)
        assert (body["text"], [page["page"] for page in body["pages"]], body["usage"]) == ("Text 1\n\nText 3", [1, 2, 3], whole.usage)
