"""What ``POST /v1/ocr`` answers. For the document of the API: answers themselves are made by the worker."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

__all__ = ["OcrAnswer"]


class OcrUsage(BaseModel):
    """What reading is counted by."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    pages: int


class OcrPage(BaseModel):
    """What was read of a page."""

    page: int = Field(description="Counted from 1.")
    text: str
    markdown: str = Field(description="The same, with tables and formulas as Markdown has them.")
    finish_reason: Literal["stop", "length", "error"]
    warnings: list[str] = Field(description="What may be wrong or missing.")


class OcrAnswer(BaseModel):
    """What was read of a picture or a document."""

    object: Literal["ocr"]
    model: str
    pages: list[OcrPage]
    text: str = Field(description="Of all pages, with an empty line between them.")
    markdown: str
    usage: OcrUsage
