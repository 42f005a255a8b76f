"""Batches through OpenAI's client, before a worker that answers whatever comes: what goes in, what comes out, what is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai.types import Batch

from app.jobs import keys, reconcile
from app.jobs.record import JobKind, JobState
from app.jobs.store import JobStore
from app.named_keys import NamedKeys, Scope
from app.settings import Settings
from tests.integration.answering_worker import answering
from tests.integration.batch_files import chat_line, ended, line, results, start, until
from tests.integration.conftest import Api, running
from tests.integration.fake_worker import FakeWorker
from tests.pictures import png
from tests.recordings import silence


def test_lines_are_answered_in_their_order_and_those_that_fail_cost_no_others(api: Api, api_settings: Settings, store: JobStore) -> None:
    lines = [chat_line(f"line {n}", max_tokens=5) for n in range(300)]
    lines[7] = chat_line("stream", stream=True)
    lines[8] = chat_line("unknown", model="nobody")
    lines[9] = chat_line("wrong", temperature="hot")
    with answering(api_settings):
        made = start(api.openai, lines, metadata={"night": "1"})
        assert made.metadata == {"night": "1"}
        done = ended(api.openai, made)
    raw = api.http.get(f"/v1/batches/{made.id}").json()
    assert Batch.model_validate_json(json.dumps(raw), strict=True).model_extra == {}
    counts, usage = done.request_counts, done.usage
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (300, 297, 3)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.input_tokens_details.cached_tokens) == (297 * 7, 297 * 3, 297 * 2)
    assert done.in_progress_at is not None
    assert done.expires_at == done.created_at + 86400
    assert made.created_at <= done.in_progress_at <= (done.finalizing_at or 0) <= (done.completed_at or 0)

    answers, errors = results(api.openai, done.output_file_id), results(api.openai, done.error_file_id)
    assert [one["custom_id"] for one in answers] == [one["custom_id"] for one in lines if one["custom_id"].startswith("line")]
    for one in answers:
        assert (one["response"]["status_code"], one["error"]) == (200, None)
        assert one["response"]["body"]["object"] == "chat.completion"
    assert len({one["id"] for one in answers} | {one["response"]["request_id"] for one in answers}) == 2 * len(answers)
    told = {one["custom_id"]: (one["response"]["status_code"], one["response"]["body"]["error"]["param"]) for one in errors}
    assert told == {"stream": (400, "stream"), "unknown": (404, "model"), "wrong": (400, "temperature")}
    assert list(told) == ["stream", "unknown", "wrong"]
    output = api.openai.files.retrieve(str(done.output_file_id))
    assert (output.purpose, output.filename) == ("batch_output", f"{made.id}_output.jsonl")

    job_id = made.id.replace("batch_", "job_")
    job = api.http.get(f"/v1/jobs/{job_id}").json()
    assert (job["kind"], job["lane"], job["state"]) == ("batch", "batch", "succeeded")
    assert (job["progress"]["done"], job["progress"]["total"], job["progress"]["unit"]) == (300, 300, "lines")
    assert job["output"]["output_file_id"] == done.output_file_id
    # Of 300 lines nothing is left but the batch and its files.
    assert store.count_by_state(children=True) == dict.fromkeys(JobState, 0)
    assert [name for name in store.client.keys(f"{keys.PREFIX}*") if job_id in name and name != keys.job(job_id)] == [keys.tokens(job_id)]
    assert {holder for holder in store.spool.holders() if holder.startswith("job_")} == {job_id}


def test_every_endpoint_has_its_own_lines(reading_settings: Settings, start_api: Callable[..., Api]) -> None:
    folder = reading_settings.home / "tiny-ears"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()
    catalog = reading_settings.home / "catalog.toml"
    catalog.write_text('[[model]]\nid = "tiny-ears"\nrepo = "./tiny-ears"\ntasks = ["asr"]\n' + catalog.read_text() + 'asr = "tiny-ears"\n')
    api = start_api(reading_settings)
    sound = api.openai.files.create(file=("a.wav", silence(1.0)), purpose="user_data").id
    picture = f"data:image/png;base64,{base64.b64encode(png(32, [bytes(96)] * 32)).decode()}"
    bodies: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
        "/v1/completions": ([{"prompt": "Once"}], [{}]),
        "/v1/embeddings": ([{"input": ["a", "b"]}, {"input": "a", "encoding_format": "base64"}], [{"input": 1}]),
        "/v1/responses": ([{"input": "Hello"}], [{"input": "Hello", "background": True}, {"input": "x", "previous_response_id": "resp_1"}]),
        "/v1/ocr": ([{"image": picture}, {"image": picture, "response_format": "text"}], [{"file_id": "file-nowhere"}]),
        "/v1/audio/transcriptions": (
            [{"file_id": sound}, {"file_id": sound, "response_format": "srt"}],
            [{}, {"file": "data:,"}, {"file_id": "file-nowhere"}],
        ),
    }
    with answering(reading_settings):
        made = {}
        for url, (good, bad) in bodies.items():
            lines = [line(f"{n}", url, **body) for n, body in enumerate([*good, *bad])]
            made[url] = start(api.openai, lines, endpoint=url)
        done = {url: ended(api.openai, batch) for url, batch in made.items()}
    answers = {url: [one["response"]["body"] for one in results(api.openai, batch.output_file_id)] for url, batch in done.items()}
    for url, (good, bad) in bodies.items():
        errors = results(api.openai, done[url].error_file_id)
        assert [one["custom_id"] for one in errors] == [str(len(good) + n) for n in range(len(bad))], errors
        assert all(400 <= one["response"]["status_code"] < 500 for one in errors), errors
        assert len(answers[url]) == len(good), (answers[url], errors)
    assert answers["/v1/completions"][0]["object"] == "text_completion"
    assert [one["object"] for one in answers["/v1/embeddings"]] == ["list", "list"]
    (response,) = answers["/v1/responses"]
    assert (response["object"], response["status"], response["store"]) == ("response", "completed", False)
    document, text = answers["/v1/ocr"]
    assert (document["object"], text) == ("ocr", document["text"] + "\n")
    heard, subtitles = answers["/v1/audio/transcriptions"]
    assert heard["text"] in subtitles
    assert subtitles.startswith("1\n00:00:00,000")


WRONG: list[tuple[list[Any], list[tuple[str, int | None]]]] = [
    ([""], [("empty_file", None)]),
    (
        ["nonsense", "[]", {**chat_line("a"), "method": "GET"}, {**chat_line("b"), "url": "/v1/embeddings"}],
        [("invalid_json_line", 1), ("invalid_json_line", 2), ("invalid_method", 3), ("invalid_url", 4)],
    ),
    (
        [chat_line("a"), "", chat_line("a"), {"custom_id": "c"}, {**chat_line("d"), "custom_id": 4}, {**chat_line("e"), "body": 1}],
        [("duplicate_custom_id", 3), ("missing_required_parameter", 4), ("invalid_custom_id", 5), ("invalid_body", 6)],
    ),
    ([chat_line("x" * 70_000)], [("line_too_large", 1)]),
    (["?"] * 150, [("invalid_json_line", number) for number in range(1, 101)]),
]


def test_a_file_that_cannot_be_used_is_told_line_by_line(api_settings: Settings, start_api: Callable[..., Api]) -> None:
    api = start_api(api_settings.model_copy(update={"max_body": 65_536}))
    for lines, told in WRONG:
        failed = ended(api.openai, start(api.openai, lines), "failed")
        assert failed.errors is not None
        assert [(error.code, error.line) for error in failed.errors.data or ()] == told
        assert (failed.output_file_id, failed.error_file_id, failed.failed_at is None) == (None, None, False)
        job = api.http.get(f"/v1/jobs/{failed.id.replace('batch_', 'job_')}").json()
        assert (job["state"], job["error"]["code"]) == ("failed", "invalid_request")


def test_what_no_batch_can_be_made_of_is_refused_at_once(api: Api) -> None:
    for more, param in (
        ({"endpoint": "/v1/audio/speech"}, "endpoint"),
        ({"completion_window": "tomorrow"}, "completion_window"),
        ({"completion_window": "31d"}, "completion_window"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"extra_body": {"output_expires_after": {"anchor": "created_at", "seconds": 3600}}}, "output_expires_after"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            start(api.openai, [chat_line("a")], **more)
        assert refused.value.param == param
    picture = api.openai.files.create(file=("a", b"{}"), purpose="vision").id
    for file_id, status in (("file-nowhere", 404), (picture, 400)):
        with pytest.raises(openai.APIStatusError) as wrong:
            api.openai.batches.create(input_file_id=file_id, endpoint="/v1/embeddings", completion_window="24h")
        assert (wrong.value.status_code, wrong.value.body["param"]) == (status, "input_file_id")  # type: ignore[index]
    for missing in (api.openai.batches.retrieve, api.openai.batches.cancel):
        for name in ("batch_1", f"batch_{'0' * 24}"):
            with pytest.raises(openai.NotFoundError, match=name):
                missing(name)
    with pytest.raises(openai.NotFoundError):
        list(api.openai.batches.list(after="batch_1"))


def test_batches_are_listed_in_pages_and_apart_from_their_lines(api: Api) -> None:
    made = [start(api.openai, [chat_line("a", model="tiny-chat")]) for _ in range(5)]
    for batch in made:
        until(api.openai, batch, "in_progress")
    assert [batch.id for batch in api.openai.batches.list(limit=2)] == [batch.id for batch in reversed(made)]
    jobs = api.http.get("/v1/jobs", params={"kind": "batch"}).json()["data"]
    assert [job["id"] for job in jobs] == [batch.id.replace("batch_", "job_") for batch in reversed(made)]
    (child,) = api.http.get("/v1/jobs", params={"parent": jobs[0]["id"]}).json()["data"]
    assert (child["kind"], child["lane"], child["model"], child["parent"]) == ("chat", "batch", "tiny-chat", jobs[0]["id"])


def test_a_batch_that_is_cancelled_keeps_what_was_answered(api: Api, worker: FakeWorker) -> None:
    batch = until(api.openai, start(api.openai, [chat_line(f"{n}") for n in range(100)]), "in_progress")
    job_id = batch.id.replace("batch_", "job_")
    answered = lines_of(worker, job_id, 3)
    for claimed in answered[:2]:
        worker.finish_chat(claimed, "Done.")
    worker.store.cancel(f"{job_id}.10")  # one line by itself
    canceled = api.openai.batches.cancel(batch.id)
    assert canceled.status in {"cancelling", "cancelled"}
    done = ended(api.openai, batch, "cancelled")
    assert (done.cancelling_at or 0) <= (done.cancelled_at or 0)
    assert [one["custom_id"] for one in results(api.openai, done.output_file_id)] == ["0", "1"]
    errors = results(api.openai, done.error_file_id)
    assert [one["custom_id"] for one in errors] == [f"{n}" for n in range(2, 100)]
    assert {(one["response"], one["error"]["code"]) for one in errors if one["custom_id"] != "10"} == {(None, "batch_cancelled")}
    counts = done.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (100, 2, 98)
    assert api.openai.batches.cancel(batch.id) == done
    assert not worker.finish_chat(answered[2], "Too late.")
    assert worker.store.count_by_state(children=True) == dict.fromkeys(JobState, 0)


def lines_of(worker: FakeWorker, job_id: str, count: int) -> list[Any]:
    """Claim the first lines of a batch, once they are in their queue."""
    found: list[Any] = []
    while len(found) < count:
        claimed = worker.try_to_claim(f"{job_id}.{len(found)}")
        found += [claimed] if claimed else []
        if not claimed:
            worker.wait_for_work(1.0)
    return found


def test_a_batch_that_expires_keeps_what_was_answered(api: Api, worker: FakeWorker) -> None:
    batch = start(api.openai, [chat_line(f"{n}") for n in range(70)], completion_window="2s")
    job_id = batch.id.replace("batch_", "job_")
    for claimed in lines_of(worker, job_id, 1):
        worker.finish_chat(claimed, "In time.")
    done = ended(api.openai, batch, "expired")
    assert (done.expired_at or 0) >= (done.expires_at or 0) >= batch.created_at + 2
    assert [one["custom_id"] for one in results(api.openai, done.output_file_id)] == ["0"]
    errors = results(api.openai, done.error_file_id)
    assert [one["error"]["code"] for one in errors] == ["batch_expired"] * 69


def test_another_process_goes_on_with_a_batch_and_its_input_may_be_deleted(
    api_settings: Settings, start_api: Callable[..., Api], worker: FakeWorker, store: JobStore
) -> None:  # fmt: skip
    with running(api_settings) as first:
        batch = until(first.openai, start(first.openai, [chat_line(f"{n}") for n in range(100)]), "in_progress")
        job_id = batch.id.replace("batch_", "job_")
        for claimed in lines_of(worker, job_id, 40):
            worker.finish_chat(claimed, claimed.id)
        first.openai.files.delete(batch.input_file_id)
        assert reconcile.expire(store, api_settings.model_copy(update={"keep_finished": 0})) == 0
    second = start_api(api_settings)
    with answering(api_settings):
        done = ended(second.openai, batch)
    answers = results(second.openai, done.output_file_id)
    assert [one["custom_id"] for one in answers] == [f"{n}" for n in range(100)]
    texts = [one["response"]["body"]["choices"][0]["message"]["content"] for one in answers]
    assert texts[:40] == [f"{job_id}.{n}" for n in range(40)]
    retried = second.http.post(f"/v1/jobs/{job_id}/retry").json()
    again = until(second.openai, second.openai.batches.retrieve(retried["id"].replace("job_", "batch_")), "in_progress")
    assert (again.input_file_id, retried["kind"]) == (batch.input_file_id, JobKind.BATCH)
    assert again.expires_at == again.created_at + 86400


def test_a_batch_and_what_came_of_it_are_its_submitters_alone(api: Api, api_settings: Settings) -> None:
    named = NamedKeys(api_settings.home)
    mine, theirs = (api.openai.with_options(api_key=named.create(name, Scope.INFERENCE)) for name in ("mine", "theirs"))
    with answering(api_settings):
        made = start(mine, [chat_line("a")])
        done = ended(mine, made)
    assert mine.files.retrieve(str(done.output_file_id)).id == done.output_file_id
    assert [one.id for one in mine.batches.list()] == [made.id]
    assert [*theirs.batches.list(), *theirs.files.list()] == []
    for look in (theirs.batches.retrieve, theirs.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            look(made.id)
    with pytest.raises(openai.NotFoundError):
        theirs.batches.create(input_file_id=made.input_file_id, endpoint="/v1/chat/completions", completion_window="24h")
