"""What was read of a document's pages, as the answer that was asked for. Pure.

A page's result is kept as JSON (:func:`page_facts`), so that a parent can put
together what other workers, or earlier ones, read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.actors.runs import Joined, Run
from app.documents.markup import markdown_of, text_of
from app.engines.protocols import Finished
from app.errors import Failure

__all__ = ["blank_page", "damage_warnings", "failed_page", "ocr_body", "page_facts", "page_of", "read_page"]

_MEDIA_TYPES = {"text": "text/plain; charset=utf-8", "markdown": "text/markdown; charset=utf-8"}
_COUNTED = ("prompt_tokens", "completion_tokens", "total_tokens")

Page = dict[str, Any]


def page_of(run: Run, finished: Finished) -> tuple[Page, dict[str, int]]:
    """Return what the model wrote of a run's page, and what that took."""
    (choice,) = run.choices
    number, written = int(run.request.get("page") or 1), "".join(choice.text)
    warnings = list(run.request.get("warnings") or ())
    if finished.looped:
        warnings.append(f"Page {number} repeats itself at its end and was stopped there: what follows is missing.")
    elif finished.reason == "length":
        tokens = finished.completion_tokens
        warnings.append(f"Page {number} is cut off after {tokens} tokens: its end is missing. Ask for more with max_tokens.")
    page = {
        "page": number,
        "text": text_of(written),
        "markdown": markdown_of(written, str(run.request.get("task") or "ocr")),
        "finish_reason": finished.reason,
        "warnings": warnings,
    }
    spent = {
        "prompt_tokens": finished.prompt_tokens,
        "completion_tokens": finished.completion_tokens,
        "total_tokens": finished.prompt_tokens + finished.completion_tokens,
    }
    return page, spent


def damage_warnings(number: int, pictures: int) -> list[str]:
    """Return what to say of a page with so many pictures that could not be drawn, or in part."""
    which = "a damaged picture" if pictures == 1 else f"{pictures} damaged pictures"
    return [f"Page {number} has {which} in it: what is on it is missing or incomplete."] if pictures else []


def blank_page(number: int, warnings: Sequence[str] = ()) -> tuple[Page, dict[str, int]]:
    """Return the result of a page that has nothing on it: no model is asked, because models make something up of it."""
    page = {"page": number, "text": "", "markdown": "", "finish_reason": "stop", "warnings": list(warnings)}
    return page, dict.fromkeys(_COUNTED, 0)


def failed_page(number: int, error: Failure | None) -> tuple[Page, dict[str, int]]:
    """Return the result of a page that could not be read."""
    why = f"Page {number} could not be read: {error.message if error is not None else 'its job was canceled.'}"
    return {"page": number, "text": "", "markdown": "", "finish_reason": "error", "warnings": [why]}, dict.fromkeys(_COUNTED, 0)


def page_facts(page: Page, spent: Mapping[str, int]) -> Joined:
    """Return the output of a job that read a page for its parent; :func:`read_page` reads it."""
    return Joined(_dump({"page": page, "usage": spent}), {**spent, "pages": 1})


def read_page(output: bytes) -> tuple[Page, dict[str, int]]:
    """Return what :func:`page_facts` was given."""
    facts = json.loads(output)
    return facts["page"], facts["usage"]


def ocr_body(read: Iterable[tuple[Page, Mapping[str, int]]], model: str, request: Mapping[str, Any]) -> Joined:
    """Return the answer in the format that was asked for.

    Args:
        read: The pages in their order, and what each took.
        model: That read them.
        request: Of the job.
    """
    pages, spent = zip(*read, strict=True)
    usage = {name: sum(one[name] for one in spent) for name in _COUNTED} | {"pages": len(pages)}
    wanted = request.get("response_format") or "json"
    if wanted != "json":
        return Joined((_together(pages, wanted) + "\n").encode(), usage, _MEDIA_TYPES[wanted])
    body = {
        "object": "ocr",
        "model": model,
        "pages": pages,
        "text": _together(pages, "text"),
        "markdown": _together(pages, "markdown"),
        "usage": usage,
    }
    return Joined(_dump(body), usage)


def _together(pages: Sequence[Page], what: str) -> str:
    return "\n\n".join(page[what] for page in pages if page[what])


def _dump(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
