"""Files of requests for batches, through the official client: made, sent, followed to their end, read back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

from openai import OpenAI
from openai.types import Batch

__all__ = ["chat_line", "ended", "line", "results", "start", "until"]

_PATIENCE_S = 240.0
_FINAL = frozenset({"completed", "failed", "expired", "cancelled"})


def line(name: str, url: str, **body: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a body
    """Return one request."""
    return {"custom_id": name, "method": "POST", "url": url, "body": body}


def chat_line(name: str, content: str = "Hello", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a chat
    """Return a request for a chat."""
    return line(name, "/v1/chat/completions", messages=[{"role": "user", "content": content}], **more)


def start(client: OpenAI, lines: Iterable[dict[str, Any] | str], **more: Any) -> Batch:  # noqa: ANN401 - parameters of a batch
    """Upload requests, or lines that are none, and make a batch of them."""
    content = "".join((text if isinstance(text, str) else json.dumps(text)) + "\n" for text in lines)
    file = client.files.create(file=("requests.jsonl", content.encode()), purpose="batch")
    asked = {"endpoint": "/v1/chat/completions", "completion_window": "24h", **more}
    return client.batches.create(input_file_id=file.id, **asked)


def until(client: OpenAI, batch: Batch, *statuses: str) -> Batch:
    """Return a batch once it has one of these statuses; no client can be told of that."""
    deadline = time.monotonic() + _PATIENCE_S
    while batch.status not in statuses:
        assert time.monotonic() < deadline, batch
        assert batch.status not in _FINAL, batch
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    return batch


def ended(client: OpenAI, batch: Batch, status: str = "completed") -> Batch:
    """Return a batch once it has ended, which is to be with this status."""
    batch = until(client, batch, *_FINAL)
    assert batch.status == status, batch
    return batch


def results(client: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    """Return the lines of a result file, in their order; none where there is no file."""
    return [json.loads(text) for text in client.files.content(file_id).text.splitlines()] if file_id else []
