"""What a request may say of how its answer shall look, and what is refused before there is a job."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


class Place(BaseModel):
    street: str
    number: int | None = None


class Person(BaseModel):
    name: str
    places: list[Place]


def json_schema(**fields: object) -> dict[str, object]:
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": {"type": "object"}, **fields}}


WRONG = [
    # response_format, the rest of param, part of the message
    ("json", "", "must be an object"),
    ({}, "", "must have a type"),
    ({"type": "xml"}, "", "'text', 'json_object', 'json_schema'"),
    ({"type": "json_schema"}, ".json_schema", "is required"),
    ({"type": "json_schema", "json_schema": {"name": "it"}}, ".json_schema.schema", "is required"),
    (json_schema(name="a b"), ".json_schema.name", "pattern"),
    (json_schema(schema=[]), ".json_schema.schema", "must be an object"),
    (json_schema(strict="yes"), ".json_schema.strict", "true or false"),
    (json_schema(schema={"type": "objekt"}), ".json_schema.schema", "objekt"),
    (json_schema(schema={"items": {"items": {"not": {}}}}), ".json_schema.schema.items.items", "'not' is not supported"),
    (json_schema(schema={"multipleOf": 99_999_989}), ".json_schema.schema", "multipleOf"),
]


def test_what_no_answer_can_be_held_to_is_refused_by_its_place(api: Api) -> None:
    for response_format, param, words in WRONG:
        body = {"messages": HELLO, "response_format": response_format}
        answer = api.http.post("/v1/chat/completions", json=body)
        assert answer.status_code == 400, (body, answer.text)
        error = answer.json()["error"]
        assert error["param"] == f"response_format{param}", error
        assert words in error["message"], error
        job = api.http.post("/v1/jobs", json={"kind": "chat", "request": body})
        assert (job.status_code, job.json()["param"]) == (400, f"request.response_format{param}")
        receipt = api.http.post("/v1/chat/completions", json=body, headers={"Prefer": "respond-async"})
        assert receipt.status_code == 400
    assert api.http.get("/v1/jobs").json()["data"] == []


def test_parse_sends_its_model_and_gets_one_back(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(api.openai.chat.completions.parse, model="chat", messages=HELLO, response_format=Person)
    job = worker.claim()
    assert job.request["response_format"]["json_schema"]["schema"]["$defs"]["Place"]["type"] == "object"
    assert list(job.request["response_format"]["json_schema"]["schema"]["properties"]) == ["name", "places"]
    worker.finish_chat(job, json.dumps({"name": "Ida", "places": [{"street": "Nygata", "number": 3}]}))
    parsed = call.result().choices[0].message.parsed
    assert parsed == Person(name="Ida", places=[Place(street="Nygata", number=3)])


@pytest.mark.parametrize("response_format", [{"type": "text"}, {"type": "json_object"}, None, json_schema(description="d", strict=False)])
def test_what_is_right_is_kept_as_it_came(api: Api, worker: FakeWorker, background: ThreadPoolExecutor, response_format: Any) -> None:  # noqa: ANN401
    call = background.submit(api.http.post, "/v1/chat/completions", json={"messages": HELLO, "response_format": response_format})
    job = worker.claim()
    assert job.request["response_format"] == response_format
    worker.finish_chat(job, "{}")
    assert call.result().status_code == 200


def test_a_schema_that_takes_long_keeps_nobody_waiting(api: Api, background: ThreadPoolExecutor) -> None:
    large = {"enum": [{"a": number, "b": [number] * 20} for number in range(1500)]}
    sent = threading.Event()

    def ask() -> int:
        sent.set()
        return api.http.post(
            "/v1/jobs", json={"kind": "chat", "request": {"messages": HELLO, "response_format": json_schema(schema=large)}}
        ).status_code

    call = background.submit(ask)
    sent.wait()
    while not call.done():
        assert api.http.get("/health").status_code == 200
    assert call.result() == 202


def test_the_client_s_error_says_where(api: Api) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        api.openai.chat.completions.create(
            model="chat", messages=HELLO, response_format=json_schema(schema={"type": "array", "contains": {}})
        )  # type: ignore[call-overload]
    assert refused.value.param == "response_format.json_schema.schema"
