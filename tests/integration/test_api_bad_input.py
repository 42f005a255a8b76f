"""What is wrong with a request is a 4xx that says what to change, and leaves nothing behind."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from pydantic import ByteSize
from structlog.testing import capture_logs

from app.settings import Settings
from tests.integration.conftest import Api, running
from tests.integration.fake_worker import FakeWorker
from tests.integration.wrong_bodies import WRONG_CHATS, WRONG_COMPLETIONS, WRONG_EMBEDDINGS, chat

NOT_JSON = [
    (b"", "is empty"),
    (b"   ", "is empty"),
    (b"hello", "line 1 column 1"),
    (b'{"messages": [}', "line 1 column 15"),
    (b'{\n"messages": [],}', "line 2 column"),
    (b'{"temperature": NaN}', "line 1"),
    (b'{"temperature": Infinity}', "line 1"),
    (b'{"model": "\\ud800"}', "line 1"),
    (b'{"model": "\xff\xfe"}', "line 1"),
    (b'{"seed": ' + b"9" * 10_000 + b"}", "line 1"),
    (b"[" * 100_000, "recursion limit"),
    (b'{"a":' * 100_000, "recursion limit"),
    ('{"model": "x"}'.encode("utf-16"), "line 1"),
    (b'{"model": "x"} {"model": "y"}', "trailing"),
]


@pytest.fixture(autouse=True)
def nothing_left_behind(worker: FakeWorker) -> Iterator[None]:
    """After every test here the store has not one job, queue or stream."""
    yield
    assert worker.store.list_jobs() == []
    assert worker.store.client.keys("mlx:*job*") == []
    assert worker.store.client.keys("*dramatiq*.msgs") == []


@pytest.fixture(scope="module")
def cases() -> list[tuple[str, Any, str | None, str]]:
    chats = [("/v1/chat/completions", *case) for case in WRONG_CHATS]
    completions = [("/v1/completions", *case) for case in WRONG_COMPLETIONS]
    return chats + completions + [("/v1/embeddings", *case) for case in WRONG_EMBEDDINGS]


def test_a_wrong_body_is_400_and_names_the_field(api: Api, cases: list[tuple[str, Any, str | None, str]]) -> None:
    for path, body, param, words in cases:
        response = api.http.post(path, content=json.dumps(body))
        assert response.status_code == 400, (body, response.text)
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["param"] == param, (body, error)
        assert words in error["message"], (body, error)
        assert error["type"] == "invalid_request_error"
        assert len(error["message"]) < 300


def test_the_same_body_in_a_job_is_a_problem_that_names_the_field_under_request(
    api: Api, cases: list[tuple[str, Any, str | None, str]]
) -> None:
    for path, body, param, words in cases:
        kind = {"/v1/chat/completions": "chat", "/v1/completions": "completion", "/v1/embeddings": "embedding"}[path]
        response = api.http.post("/v1/jobs", content=json.dumps({"kind": kind, "request": body}))
        assert response.status_code == 400, (body, response.text)
        assert response.headers["content-type"] == "application/problem+json"
        problem = response.json()
        assert problem["param"] == ("request" if param is None else f"request.{param}"), problem
        assert words in problem["detail"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/v1/jobs"])
def test_what_is_not_json_is_400_with_the_position(api: Api, path: str) -> None:
    for raw, words in NOT_JSON:
        response = api.http.post(path, content=raw, headers={"Content-Type": "application/json"})
        assert response.status_code == 400, (raw[:40], response.text)
        assert words in response.text, (raw[:40], response.text)


def test_the_official_client_raises_what_it_raises_for_openai(api: Api) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        api.openai.chat.completions.create(model="chat", messages=[])
    assert (refused.value.param, refused.value.code) == ("messages", "invalid_request")
    with pytest.raises(openai.NotFoundError) as unknown:
        api.openai.embeddings.create(model="tiny-embet", input="x")
    assert (unknown.value.param, unknown.value.code) == ("model", "model_not_found")


def test_an_unknown_model_is_404_with_the_nearest_names(api: Api) -> None:
    for name, near in [("tiny-chad", "tiny-chat"), ("TINY_CHAT", "tiny-chat"), ("litle", "tiny-chat")]:
        error = api.http.post("/v1/chat/completions", json=chat(model=name)).json()["error"]
        assert near in error["message"]
    far = api.http.post("/v1/chat/completions", json=chat(model="\N{GRINNING FACE}")).json()["error"]
    assert "GET /v1/models" in far["message"]
    response = api.http.post("/v1/chat/completions", json=chat(model="somebody/something-new"))
    assert response.status_code == 404
    assert "mlx-local models pull somebody/something-new" in response.json()["error"]["message"]
    assert response.headers["x-should-retry"] == "false"


def test_a_model_whose_files_are_not_here_is_404_in_offline_mode_and_says_how_to_get_them(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(openai.NotFoundError, match="models pull far-away") as missing:
        api.openai.chat.completions.create(model="nobody/Far-Away-4bit", messages=[{"role": "user", "content": "x"}])
    assert missing.value.code == "model_not_downloaded"


def test_a_role_without_a_model_says_what_could_have_it(api: Api) -> None:
    response = api.http.post("/v1/chat/completions", json=chat(model="tts"))
    assert response.status_code == 404
    assert "role 'tts'" in response.json()["error"]["message"]


def test_a_body_over_the_limit_is_413_announced_or_not(api_settings: Settings, start_api: Callable[..., Api], worker: FakeWorker) -> None:
    api = start_api(api_settings.model_copy(update={"max_body": ByteSize(1000)}))
    body = json.dumps(chat(messages=[{"role": "user", "content": "x" * 100_000}])).encode()
    for content in (body, iter([body[:900], *[body[900:]] * 50])):
        response = api.http.post("/v1/chat/completions", content=content)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "body_too_large"
    assert "MLX_LOCAL_MAX_BODY" in response.text
    problem = api.http.post("/v1/jobs", content=body)
    assert (problem.status_code, problem.json()["title"]) == (413, "Request Entity Too Large")
    assert api.http.post("/v1/embeddings", json={"input": ""}).status_code == 400


def test_a_body_of_a_hundred_megabytes_is_refused_and_the_client_hears_of_it(api: Api) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        api.openai.embeddings.create(model="embedding", input="x" * (100 * 1024**2))
    assert refused.value.status_code == 413


def test_the_content_type_is_not_insisted_on(api: Api) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "nonsense", ""):
        response = api.http.post("/v1/chat/completions", content=b'{"messages": []}', headers={"Content-Type": media_type})
        assert response.json()["error"]["param"] == "messages"


def test_a_form_and_a_compressed_body_are_refused_by_name(api: Api) -> None:
    form = api.http.post("/v1/chat/completions", files={"file": b"x"})
    assert (form.status_code, form.json()["error"]["code"]) == (415, "unsupported_media_type")
    zipped = api.http.post("/v1/chat/completions", content=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    assert zipped.status_code == 415
    assert "gzip" in zipped.json()["error"]["message"]


def test_an_unknown_route_and_a_wrong_method_have_the_shape_of_their_part(api: Api) -> None:
    unknown = api.http.get("/v1/nothing")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "route_not_found")
    method = api.http.get("/v1/chat/completions")
    assert (method.status_code, method.json()["error"]["code"]) == (405, "method_not_allowed")
    assert method.headers["allow"] == "POST"
    for path in ("/", "/v2", "/docs", "/v1/jobs/x/y/z"):
        problem = api.http.get(path)
        assert problem.status_code == 404
        assert problem.headers["content-type"] == "application/problem+json"
    assert api.http.delete("/v1/jobs").status_code == 405


def test_a_wrong_job_submission_says_what_to_change(api: Api) -> None:
    cases: list[tuple[object, str, str]] = [
        ({}, "kind", "is required"),
        ({"kind": "chat"}, "request", "is required"),
        ({"kind": 5, "request": {}}, "kind", "must be a string"),
        (
            {"kind": "poem", "request": {}},
            "kind",
            "'transcription', 'translation', 'speech', 'ocr', 'rerank', 'transcript' or 'download' (got 'poem')",
        ),
        ({"kind": "transcript", "request": {}}, "request.file_id", ""),
        ({"kind": "count", "request": {}}, "kind", "must be 'chat'"),  # for the API alone
        ({"kind": "transcription", "request": {}}, "file", "send a form"),
        ({"kind": "chat", "request": []}, "request", "must be an object"),
        ({"kind": "chat", "request": {}, "lane": "fast"}, "lane", "'interactive' or 'batch'"),
        ({"kind": "chat", "request": {}, "priority": 1}, "priority", "leave it out"),
    ]
    for body, param, words in cases:
        problem = api.http.post("/v1/jobs", json=body).json()
        assert (problem["status"], problem["param"]) == (400, param)
        assert words in problem["detail"]


def test_wrong_filters_of_the_job_list_are_400(api: Api) -> None:
    cases = [("state=lost", "state"), ("limit=0", "limit"), ("limit=many", "limit"), ("lane=fast", "lane"), ("kind=poem", "kind")]
    for query, param in cases:
        response = api.http.get(f"/v1/jobs?{query}")
        assert (response.status_code, response.json()["param"]) == (400, param), response.text
    assert api.http.get("/v1/jobs?after=job_gone").status_code == 404


@pytest.mark.parametrize("key", ["", "k" * 256, "ключ".encode().decode("latin-1")])
def test_an_idempotency_key_that_is_none_is_refused(api: Api, key: str) -> None:
    response = api.http.post("/v1/chat/completions", json=chat(), headers=[(b"Idempotency-Key", key.encode("latin-1"))])
    assert (response.status_code, response.json()["error"]["param"]) == (400, "Idempotency-Key")


def test_a_connection_that_breaks_while_it_sends_is_no_defect_and_leaves_nothing(api_settings: Settings) -> None:
    with capture_logs() as lines, running(api_settings) as api:
        with socket.create_connection(("127.0.0.1", api.port)) as connection:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
        assert api.http.get("/health").status_code == 200
    assert [line["status"] for line in lines if line["event"] == "http.request" and line["log_level"] == "info"] == [499]
    assert [line for line in lines if line["log_level"] == "error"] == []
