"""What comes of a rerank job, in the shape that Jina's, Cohere's and vLLM's clients have in common. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from app.actors.runs import Joined
from app.engines.ranking import Ranked
from app.jobs.claims import Claimed
from app.jobs.record import completion_id

__all__ = ["ranked_list"]


def ranked_list(claim: Claimed, ranked: Ranked) -> Joined:
    """Return the documents that were asked for, the best one first; equally good ones keep their order."""
    request = claim.request
    order = np.argsort(-ranked.scores, kind="stable")[: request.get("top_n") or None]
    shows = request.get("return_documents") is not False
    results: list[dict[str, Any]] = []
    for index in order.tolist():
        result: dict[str, Any] = {"index": index, "relevance_score": float(ranked.scores[index])}
        results.append(result | {"document": {"text": _text(request["documents"][index])}} if shows else result)
    usage = {"prompt_tokens": ranked.prompt_tokens, "total_tokens": ranked.prompt_tokens}
    body = {"id": completion_id(claim.id, claim.kind), "model": claim.model, "results": results, "usage": usage}
    return Joined(json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(), usage)


def _text(document: str | Mapping[str, str]) -> str:
    return document if isinstance(document, str) else document["text"]
