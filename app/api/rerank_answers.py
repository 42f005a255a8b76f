"""What ``POST /v1/rerank`` answers with, as a type for the OpenAPI document: the worker writes it (:mod:`app.actors.ranking`)."""

from __future__ import annotations

from pydantic import BaseModel, Field

from app.api.answers import EmbeddingUsage

__all__ = ["RerankAnswer"]


class RankedText(BaseModel):
    """A document."""

    text: str


class RankedDocument(BaseModel):
    """A document's place in the order."""

    index: int = Field(description="Its place in the request.")
    relevance_score: float = Field(description="From 0 to 1. Scores of one model are comparable, those of two are not.")
    document: RankedText | None = Field(None, description="Left out where `return_documents` is false.")


class RerankAnswer(BaseModel):
    """Documents, the best one first; equally good ones in the order of the request."""

    id: str
    model: str
    results: list[RankedDocument]
    usage: EmbeddingUsage
