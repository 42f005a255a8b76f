"""Bodies of OpenAI's answers, made once, when a job ends, and kept as its output."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from app.engines.protocols import Embedded, Finished
from app.errors import InvalidRequest
from app.jobs.claims import Claimed
from app.jobs.record import completion_id

__all__ = ["chat_completion", "embedding_list"]


def chat_completion(claim: Claimed, created: int, text: str, finished: Finished) -> tuple[bytes, dict[str, Any]]:
    """Return the ``chat.completion`` body and its usage.

    Args:
        claim: The job.
        created: Seconds since the epoch.
        text: The whole answer.
        finished: How it ended.
    """
    usage = {
        "prompt_tokens": finished.prompt_tokens,
        "completion_tokens": finished.completion_tokens,
        "total_tokens": finished.prompt_tokens + finished.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": finished.cached_tokens},
    }
    message = {"role": "assistant", "content": text, "refusal": None}
    body = {
        "id": completion_id(claim.id),
        "object": "chat.completion",
        "created": created,
        "model": claim.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finished.reason}],
        "usage": usage,
    }
    return _dump(body), usage


def embedding_list(claim: Claimed, embedded: Embedded) -> tuple[bytes, dict[str, Any]]:
    """Return the ``list`` body of embeddings and its usage.

    Raises:
        InvalidRequest: More dimensions are asked for than the model has.
    """
    rows = _cut(embedded.rows, claim.request.get("dimensions"))
    plain = claim.request.get("encoding_format") != "base64"
    usage = {"prompt_tokens": embedded.prompt_tokens, "total_tokens": embedded.prompt_tokens}
    body = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": row.tolist() if plain else _base64(row)}
            for index, row in enumerate(rows)
        ],
        "model": claim.model,
        "usage": usage,
    }  # fmt: skip
    return _dump(body), usage


def _cut(rows: npt.NDArray[np.float32], dimensions: int | None) -> npt.NDArray[np.float32]:
    """Keep the first *dimensions* of each row and make it a unit vector again (Matryoshka, arXiv:2205.13147)."""
    have = rows.shape[1]
    if dimensions is None or dimensions == have:
        return rows
    if dimensions > have:
        msg = f"dimensions is {dimensions}, but the model has {have}; ask for {have} or fewer."
        raise InvalidRequest(msg, param="dimensions")
    kept = rows[:, :dimensions]
    norms = np.linalg.norm(kept, axis=1, keepdims=True)
    return np.asarray(kept / np.maximum(norms, np.finfo(np.float32).tiny), dtype=np.float32)


def _base64(row: npt.NDArray[np.float32]) -> str:
    return base64.b64encode(np.ascontiguousarray(row, dtype="<f4").tobytes()).decode()


def _dump(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
