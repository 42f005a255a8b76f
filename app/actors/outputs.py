"""Bodies of OpenAI's answers, made once, when a job ends, and kept as its output."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from app.actors.choices import answers_to_each
from app.actors.runs import Choice, Downloaded
from app.engines.protocols import Embedded, Finished
from app.errors import InvalidRequest
from app.jobs.calls import tool_calls
from app.jobs.claims import Claimed
from app.jobs.logprobs import chat_logprobs, completion_logprobs
from app.jobs.record import completion_id

__all__ = ["chat_completion", "download_report", "embedding_list", "text_completion"]


def chat_completion(claim: Claimed, created: int, choices: Sequence[Choice]) -> tuple[bytes, dict[str, Any]]:
    """Return the ``chat.completion`` body and its usage.

    Args:
        claim: The job.
        created: Seconds since the epoch.
        choices: Every answer, finished.
    """
    asked = bool(claim.request.get("logprobs"))
    shown = [
        {
            "index": index,
            "message": _message(claim.id, index, choice),
            "logprobs": chat_logprobs(choice.logprobs) if asked else None,
            "finish_reason": _chat_reason(choice),
            **_stop_of(choice),
        }
        for index, choice in enumerate(choices)
    ]
    return _completion("chat.completion", claim, created, shown, _usage(claim, choices))


def _message(job_id: str, index: int, choice: Choice) -> dict[str, Any]:
    """Return what the assistant said: an answer, or calls of tools, or both; and, apart from that, what it thought."""
    text, reasoning = "".join(choice.text), "".join(choice.reasoning)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if reasoning:
        message["reasoning_content"] = reasoning
    if choice.calls:
        message |= {"content": text or None, "tool_calls": tool_calls(job_id, index, choice.calls)}
    return message


def _chat_reason(choice: Choice) -> str:
    reason = _end_of(choice).reason
    return "tool_calls" if choice.calls and reason == "stop" else reason


def _stop_of(choice: Choice) -> dict[str, Any]:
    """Return the stop string that ended it, under vLLM's name; OpenAI has none."""
    stop = _end_of(choice).stopped_by
    return {} if stop is None else {"stop_reason": stop}


def text_completion(claim: Claimed, created: int, choices: Sequence[Choice]) -> tuple[bytes, dict[str, Any]]:
    """Return the ``text_completion`` body and its usage; otherwise as :func:`chat_completion`."""
    asked = claim.request.get("logprobs") is not None
    shown = [
        {
            "index": index,
            "text": "".join(choice.text),
            "logprobs": completion_logprobs(choice.logprobs) if asked else None,
            "finish_reason": _end_of(choice).reason,
            **_stop_of(choice),
        }
        for index, choice in enumerate(choices)
    ]
    return _completion("text_completion", claim, created, shown, _usage(claim, choices))


def _completion(
    kind: str, claim: Claimed, created: int, choices: list[dict[str, Any]], usage: dict[str, Any]
) -> tuple[bytes, dict[str, Any]]:
    body = {
        "id": completion_id(claim.id, claim.kind),
        "object": kind,
        "created": created,
        "model": claim.model,
        "choices": choices,
        "usage": usage,
    }
    return _dump(body), usage


def _usage(claim: Claimed, choices: Sequence[Choice]) -> dict[str, Any]:
    """Return the sums. A prompt counts once, however many answers it got; so does what its first answer found in the cache."""
    ends = [_end_of(choice) for choice in choices]
    firsts = ends[:: answers_to_each(claim)]
    prompt, completion = sum(end.prompt_tokens for end in firsts), sum(end.completion_tokens for end in ends)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(end.cached_tokens for end in firsts)},
        "completion_tokens_details": {"reasoning_tokens": sum(end.reasoning_tokens for end in ends)},
    }


def _end_of(choice: Choice) -> Finished:
    if choice.finished is None:
        msg = "a choice has not ended"
        raise RuntimeError(msg)
    return choice.finished


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


def download_report(done: Downloaded) -> bytes:
    """Return the output of a download."""
    return _dump(asdict(done))


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
