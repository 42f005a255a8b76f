"""Responses that are kept: in the background, fetched, followed from a number on, gone on from, cancelled, deleted."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from PIL import Image

from app.jobs import keys
from app.jobs.claims import Claimed
from app.jobs.reconcile import expire, sweep_spool
from app.jobs.record import JobState, Lane
from app.settings import Settings
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker


def answer(api: Api, worker: FakeWorker, background: ThreadPoolExecutor, text: str, **asked: Any) -> tuple[Any, Claimed]:  # noqa: ANN401
    """Return a response that says *text*, and its job."""
    call = background.submit(lambda: api.openai.responses.create(**asked))
    job = worker.claim()
    worker.finish_chat(job, text)
    return call.result(), job


def picture() -> str:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


@pytest.fixture
def seeing_settings(api_settings: Settings) -> Settings:
    """Settings whose chat model sees, beside one that does not."""
    folder = api_settings.home / "tiny-eyes"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()
    catalog = Path(str(api_settings.catalog))
    catalog.write_text('[[model]]\nid = "tiny-eyes"\nrepo = "./tiny-eyes"\ntasks = ["vision"]\n' + catalog.read_text())
    return api_settings


def test_a_background_response_answers_at_once_and_is_polled_to_its_end(api: Api, worker: FakeWorker) -> None:
    begun = api.openai.responses.create(input="Hello", background=True)
    assert begun.status == "queued"
    job = worker.claim()
    assert job.lane is Lane.BATCH
    assert api.openai.responses.retrieve(begun.id).status == "in_progress"
    worker.finish_chat(job, "Hi")
    ended = api.openai.responses.retrieve(begun.id)
    assert (ended.status, ended.output_text) == ("completed", "Hi")


def test_a_reader_of_a_background_stream_may_leave_and_go_on_after_the_last_event_it_saw(api: Api, worker: FakeWorker) -> None:
    seen: list[Any] = []
    with api.openai.responses.create(input="Hello", background=True, stream=True) as stream:
        for event in stream:
            seen.append(event)
            if event.type == "response.queued":
                job = worker.claim()
                worker.say(job, "one ")
            if event.type == "response.output_text.delta":
                break
    worker.say(job, "two")
    worker.die(job)
    again = worker.claim()
    assert again.id == job.id, "its reader's leaving was nothing to it"
    worker.say(again, " three")
    worker.finish_chat(again, "one two three")
    last = seen[-1].sequence_number
    seen += api.openai.responses.retrieve(seen[0].response.id, stream=True, starting_after=last)
    assert [event.sequence_number for event in seen] == [*range(len(seen))]
    assert [event.type for event in seen[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert "".join(event.delta for event in seen if event.type == "response.output_text.delta") == "one two three"
    assert seen[-1].response.output_text == "one two three"
    whole = [*api.openai.responses.retrieve(seen[0].response.id, stream=True)]
    assert [event.type for event in whole] == [event.type for event in seen]


def test_a_stream_that_is_gone_is_told_from_the_answer_but_not_from_its_middle(
    api: Api, worker: FakeWorker, background: ThreadPoolExecutor
) -> None:
    made, job = answer(api, worker, background, "Hi", input="Hello")
    worker.store.client.delete(keys.tokens(job.id))
    events: list[Any] = [*api.openai.responses.retrieve(made.id, stream=True)]
    assert events[-1].response.output_text == "Hi"
    with pytest.raises(openai.BadRequestError) as refused:
        api.openai.responses.retrieve(made.id, stream=True, starting_after=1)
    assert refused.value.param == "starting_after"


def test_a_stored_response_outlives_what_is_only_waited_on(
    api: Api, worker: FakeWorker, background: ThreadPoolExecutor, api_settings: Settings
) -> None:
    kept, _ = answer(api, worker, background, "Hi", input="Hello")
    passing, _ = answer(api, worker, background, "Hi", input="Hello", store=False)
    with pytest.raises(openai.NotFoundError) as missing:
        api.openai.responses.retrieve(passing.id)
    assert missing.value.code == "response_not_found"
    keep = api_settings.model_copy(update={"keep_waited": api_settings.keep_waited * 0})
    assert expire(worker.store, keep) == 1
    assert api.openai.responses.retrieve(kept.id).output_text == "Hi"


def test_a_response_goes_on_from_another_without_its_instructions(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    first, _ = answer(api, worker, background, "Ann.", input="I am Ann.", instructions="Be brief.")
    second, job = answer(api, worker, background, "Yes.", input="Who?", previous_response_id=first.id, instructions="Be long.")
    assert job.request["messages"] == [
        {"role": "system", "content": "Be long."},
        {"role": "user", "content": "I am Ann."},
        {"role": "assistant", "content": "Ann."},
        {"role": "user", "content": "Who?"},
    ]
    assert second.previous_response_id == first.id
    listed: list[Any] = [*api.openai.responses.input_items.list(second.id, order="asc", limit=2)]
    assert [(item.role, item.content[0].text) for item in listed] == [("user", "I am Ann."), ("assistant", "Ann."), ("user", "Who?")]


def test_pictures_go_with_the_conversation_and_stay_when_the_first_response_goes(
    seeing_settings: Settings,
    start_api: Callable[..., Api],
    worker: FakeWorker,
    background: ThreadPoolExecutor,
) -> None:
    api = start_api(seeing_settings)
    shown = [{"role": "user", "content": [{"type": "input_text", "text": "See:"}, {"type": "input_image", "image_url": picture()}]}]
    first, seen = answer(api, worker, background, "Red.", model="tiny-eyes", input=shown)
    (blob,) = seen.blobs
    second, job = answer(api, worker, background, "Still red.", model="tiny-eyes", input="And now?", previous_response_id=first.id)
    assert job.blobs == (blob,)
    assert job.request["messages"][0]["content"][1] == {"type": "image", "blob": blob, "detail": "auto"}
    api.openai.responses.delete(first.id)
    sweep_spool(worker.store, older_than_s=0)
    assert worker.store.spool.path(blob).exists()
    with pytest.raises(openai.BadRequestError) as blind:
        api.openai.responses.create(model="tiny-chat", input="And now?", previous_response_id=second.id)
    assert (blind.value.code, blind.value.param) == ("unsupported_task", "model")
    api.openai.responses.delete(second.id)
    sweep_spool(worker.store, older_than_s=0)
    assert not worker.store.spool.path(blob).exists()


def test_the_input_of_a_response_is_counted_with_what_it_goes_on_from(
    seeing_settings: Settings,
    start_api: Callable[..., Api],
    worker: FakeWorker,
    background: ThreadPoolExecutor,
) -> None:
    api = start_api(seeing_settings)
    shown = [{"role": "user", "content": [{"type": "input_image", "image_url": picture()}]}]
    first, seen = answer(api, worker, background, "Red.", model="tiny-eyes", input=shown, instructions="Be brief.")
    count = api.openai.responses.input_tokens.count
    call = background.submit(lambda: count(model="tiny-eyes", input="Why?", instructions="Be long.", previous_response_id=first.id))
    job = worker.claim()
    assert [turn["role"] for turn in job.request["messages"]] == ["system", "user", "assistant", "user"]
    assert job.request["messages"][0]["content"] == "Be long."
    assert job.blobs == seen.blobs
    worker.store.commit(job.id, job.token, JobState.SUCCEEDED, output=b'{"input_tokens": 42}')
    assert call.result().input_tokens == 42


def test_a_picture_that_cannot_be_read_is_named_where_its_caller_put_it(
    seeing_settings: Settings,
    start_api: Callable[..., Api],
) -> None:
    api = start_api(seeing_settings)
    broken = [
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}]},
    ]
    refused = api.http.post("/v1/responses", json={"model": "tiny-eyes", "input": broken})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input.1.content.0.image_url")


def test_only_what_has_an_answer_can_be_gone_on_from(api: Api, worker: FakeWorker) -> None:
    begun = api.openai.responses.create(input="Hello", background=True)
    with pytest.raises(openai.BadRequestError) as early:
        api.openai.responses.create(input="And?", previous_response_id=begun.id)
    assert early.value.param == "previous_response_id"
    for unknown in ("resp_nothing", f"resp_{24 * '0'}"):
        with pytest.raises(openai.NotFoundError) as missing:
            api.openai.responses.create(input="And?", previous_response_id=unknown)
        assert (missing.value.code, missing.value.param) == ("response_not_found", "previous_response_id")


def test_a_response_is_cancelled_and_only_then_deleted(api: Api, worker: FakeWorker) -> None:
    begun = api.openai.responses.create(input="Hello", background=True)
    job = worker.claim()
    with pytest.raises(openai.ConflictError) as running:
        api.openai.responses.delete(begun.id)
    assert running.value.code == "illegal_transition"
    assert f"The response '{begun.id}' is running" in running.value.message
    assert api.openai.responses.cancel(begun.id).status == "cancelled"
    assert api.openai.responses.cancel(begun.id).status == "cancelled"
    events: list[Any] = [*api.openai.responses.retrieve(begun.id, stream=True)]
    assert (events[-1].type, events[-1].response.status) == ("response.failed", "cancelled")
    api.openai.responses.delete(begun.id)
    with pytest.raises(openai.NotFoundError):
        api.openai.responses.retrieve(begun.id)
    assert api.http.get(f"/v1/jobs/{job.id}").status_code == 404
    assert worker.store.list_jobs(state=JobState.CANCELED) == []


def test_a_caller_that_prefers_a_receipt_gets_one_and_the_response_later(api: Api, worker: FakeWorker) -> None:
    receipt = api.http.post("/v1/responses", json={"input": "Hello"}, headers={"Prefer": "respond-async"})
    assert receipt.status_code == 202
    worker.finish_chat(worker.claim(), "Hi")
    assert api.openai.responses.retrieve(receipt.json()["id"].replace("job_", "resp_")).output_text == "Hi"


def test_a_chat_is_no_response(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    hello: list[Any] = [{"role": "user", "content": "Hi"}]
    call = background.submit(api.openai.chat.completions.create, model="chat", messages=hello)
    job = worker.claim()
    worker.finish_chat(job, "Hi")
    call.result()
    with pytest.raises(openai.NotFoundError):
        api.openai.responses.retrieve(job.id.replace("job_", "resp_"))
