"""Calls whose every answer and every streamed event is held against the types of OpenAI's own client.

The client itself takes anything; so raw bodies are validated here, and a field that its types do not know is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import httpx
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

__all__ = ["chat", "chat_events", "completion", "completion_events", "embeddings", "response", "response_events"]

M = TypeVar("M", bound=BaseModel)

# Documented by OpenAI, and not in its client's types.
_UNTYPED = {"obfuscation", "store"}
_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


# Named by vLLM, and there only where a stop string ended the answer.
_VLLMS = {"stop_reason"}


def chat(http: httpx.Client, **body: Any) -> ChatCompletion:  # noqa: ANN401
    """Return a whole chat."""
    return _checked(ChatCompletion, _post(http, "/v1/chat/completions", body))


def completion(http: httpx.Client, **body: Any) -> Completion:  # noqa: ANN401
    """Return a whole completion."""
    return _checked(Completion, _post(http, "/v1/completions", body))


def embeddings(http: httpx.Client, **body: Any) -> CreateEmbeddingResponse:  # noqa: ANN401
    """Return embeddings."""
    return _checked(CreateEmbeddingResponse, _post(http, "/v1/embeddings", body))


def chat_events(http: httpx.Client, **body: Any) -> list[ChatCompletionChunk]:  # noqa: ANN401
    """Return every event of a streamed chat."""
    return [_checked(ChatCompletionChunk, event) for event in _events(http, "/v1/chat/completions", body)]


def completion_events(http: httpx.Client, **body: Any) -> list[Completion]:  # noqa: ANN401
    """Return every event of a streamed completion.

    The client has no type of its own for them: in its type a choice has always ended, while OpenAI's events
    say null until it has. So null is read as ``content_filter`` here, which we never say.
    """
    events = _events(http, "/v1/completions", body)
    for event in events:
        for choice in event["choices"]:
            assert "finish_reason" in choice
            assert choice["finish_reason"] != "content_filter"
            choice["finish_reason"] = choice["finish_reason"] or "content_filter"
    return [_checked(Completion, event) for event in events]


def response(http: httpx.Client, **body: Any) -> Response:  # noqa: ANN401
    """Return a whole response."""
    return _checked(Response, _post(http, "/v1/responses", body))


def response_events(http: httpx.Client, **body: Any) -> list[ResponseStreamEvent]:  # noqa: ANN401
    """Return every event of a streamed response; each is named by its type, and there is no [DONE]."""
    answer = http.post("/v1/responses", json={**body, "stream": True})
    assert answer.status_code == 200, answer.text
    found = []
    for frame in answer.text.split("\n\n"):
        if frame and not frame.startswith(":"):
            name, data = frame.split("\n")
            event = _EVENT.validate_json(data.removeprefix("data: "), strict=True)
            _check_extras(event)
            assert name == f"event: {event.type}"
            found.append(event)
    return found


def _post(http: httpx.Client, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    response = http.post(path, json=dict(body))
    assert response.status_code == 200, response.text
    return response.json()


def _events(http: httpx.Client, path: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    response = http.post(path, json={**body, "stream": True})
    assert response.status_code == 200, response.text
    frames = [frame for frame in response.text.split("\n\n") if frame and not frame.startswith(":")]
    assert frames.pop() == "data: [DONE]"
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


def _checked(kind: type[M], body: Any) -> M:  # noqa: ANN401 - any JSON
    # By way of JSON, so that strict mode reads it as a client of a strict language would.
    value = kind.model_validate_json(json.dumps(body), strict=True)
    _check_extras(value)
    return value


def _check_extras(value: object) -> None:
    if isinstance(value, BaseModel):
        assert set(value.model_extra or {}) <= _UNTYPED | _VLLMS, value
        for name in type(value).model_fields:
            _check_extras(getattr(value, name))
    elif isinstance(value, list):
        for item in value:
            _check_extras(item)
