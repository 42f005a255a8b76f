"""The body of a rerank request, checked: what Jina's, Cohere's and vLLM's servers have in common.

Unlike theirs, nothing is cut off unless the request says so.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from app.jobs.bodies import KEEP_ALIVE_WORDS, MAX_TOKENS, Body, KeepAlive, ModelName

__all__ = ["RerankRequest", "TextDocument"]

_MOST_DOCUMENTS = 2048


class TextDocument(Body):
    """A document as an object."""

    text: str


class RerankRequest(Body):
    """Body of ``POST /v1/rerank``."""

    model: ModelName | None = Field(None, description="Left out: the role `rerank`, or the only model of the catalog that can rank.")
    query: Annotated[str, StringConstraints(min_length=1)]
    documents: Annotated[list[str | TextDocument], Field(min_length=1, max_length=_MOST_DOCUMENTS)]
    top_n: Annotated[int, Field(ge=0, le=MAX_TOKENS)] | None = Field(
        None, description="Return so many, the best ones; 0, and more than there are: all."
    )
    return_documents: bool | None = Field(None, description="Whether each result has its document's text; true unless said otherwise.")
    max_tokens_per_doc: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = Field(None, description="Read so many tokens of each document.")
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, le=MAX_TOKENS)] | None = Field(
        None,
        description="Cut documents so that each has at most this many tokens with its query and what the model puts around them, -1: as"
        " many as its context has. Unset: a longer one is an error.",
    )
    instruction: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        None, description="What makes a document a good one. Only for models that take one, as Qwen3-Reranker does."
    )
    user: str | None = None
    keep_alive: KeepAlive | None = Field(None, description=KEEP_ALIVE_WORDS)
