"""What engines that rank documents are asked, and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Ranked", "RerankWork"]


@dataclass(frozen=True, slots=True)
class RerankWork:
    """A query with each of several documents, in the model's own format, tokenized and cut."""

    id: str
    rows: tuple[tuple[int, ...], ...]  # token ids of the query with each document, none empty
    documents_at: tuple[int, ...]  # where in each row the document begins, for models that are told; its length for others
    alone: bool = False
    patient: bool = False


@dataclass(frozen=True, slots=True)
class Ranked:
    """Documents were ranked."""

    id: str
    scores: Any  # numpy float32, shape (len(work.rows),): how likely each document answers the query, 0 to 1, all finite
    prompt_tokens: int
