"""A receiver that fails, hangs, is away and comes back gets each event at least once, signed, in order for each job."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from openai import OpenAI
from openai.types.webhooks import BatchCompletedWebhookEvent

from app.api.services import Pace
from app.api.webhooks.tries import Tries
from app.jobs.hooks import Webhook
from app.jobs.record import JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.settings import Settings
from app.webhook_secret import webhook_secrets
from tests.hook_receiver import HANG, Arrived, HookReceiver
from tests.integration.answering_worker import answering
from tests.integration.api_process import Process
from tests.integration.batch_files import chat_line, ended, start, until
from tests.integration.conftest import Api, running
from tests.integration.fake_worker import FakeWorker
from tests.pictures import png

PROMPT, ANSWER = "what-was-asked-in-confidence", "what-was-answered"
PATIENT = Pace(webhooks=Tries(look_s=0.05, waits_s=(0.05,)))
HASTY = Pace(webhooks=Tries(look_s=0.05, longest_s=0.5, waits_s=(0.05, 0.2)))


@pytest.fixture
def hook_settings(api_settings: Settings) -> Settings:
    return api_settings.model_copy(update={"private_webhooks": True})


def submit(api: Api, webhook: object, **more: Any) -> str:  # noqa: ANN401 - fields of a submission
    body = {"kind": "chat", "request": {"messages": [{"role": "user", "content": PROMPT}]}, "webhook": webhook, **more}
    response = api.http.post("/v1/jobs", json=body)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def verified(settings: Settings, arrived: Sequence[Arrived]) -> None:
    """Hold what arrived against what OpenAI's client knows of signatures."""
    client = OpenAI(api_key="none", webhook_secret=webhook_secrets(settings.home)[0])
    for one in arrived:
        client.webhooks.verify_signature(one.body, dict(one.headers))
        assert one.headers["webhook-id"] == one.event["id"]


def first_of_each(arrived: Sequence[Arrived], job_id: str) -> list[str]:
    """Return what the receiver heard of a job, each thing when it had it first."""
    return list(dict.fromkeys(one.event["type"] for one in arrived if one.event["data"]["id"] == job_id and one.status == 204))


def delivery(store: JobStore, job_id: str, event: str) -> Any:  # noqa: ANN401 - a Job
    return next(job for job in store.list_jobs(kind=JobKind.WEBHOOK, limit=100) if (job.about, job.event) == (job_id, event))


def test_each_event_arrives_signed_and_in_order_whatever_the_receiver_does(
    hook_settings: Settings, start_api: Callable[..., Api], worker: FakeWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    api = start_api(hook_settings, HASTY)
    start_api(hook_settings, HASTY)  # a second process delivers beside it
    with HookReceiver(500, HANG, 503, 302, HANG, 500) as receiver:
        jobs = [submit(api, receiver.url) for _ in range(4)]
        claims = [worker.claim() for _ in jobs]
        for claimed in claims[:2]:
            worker.finish_chat(claimed, ANSWER)
        worker.fail(claims[2], "engine_error", "It broke.")
        api.http.post(f"/v1/jobs/{jobs[3]}/cancel")
        ends = ["job.completed", "job.completed", "job.failed", "job.canceled"]
        about = [(job, event) for job, end in zip(jobs, ends, strict=True) for event in ("job.started", end)]
        receiver.wait_for_events(*about)
    away = submit(api, {"url": receiver.url, "events": ["canceled"]})
    api.http.post(f"/v1/jobs/{away}/cancel")
    while delivery(worker.store, away, "canceled").attempt < 2:
        worker.wait_for_work(1.0)
    told = delivery(worker.store, away, "canceled").error
    assert told.message == "The receiver cannot be reached."
    with receiver:
        arrived = receiver.wait_for_events((away, "job.canceled"))
    verified(hook_settings, arrived)
    for job_id, end in zip(jobs, ends, strict=True):
        assert first_of_each(arrived, job_id) == ["job.started", end]
    ids = {one.about: {each.event["id"] for each in arrived if each.about == one.about} for one in arrived}
    assert all(len(same) == 1 for same in ids.values())  # however often it was sent
    assert [one.event["data"]["error"]["code"] for one in arrived if one.event["type"] == "job.failed"][-1] == "engine_error"
    for one in arrived:
        assert PROMPT.encode() not in one.body
        assert ANSWER.encode() not in one.body
    logged = capsys.readouterr().out  # at level debug
    assert "webhook.delivered" in logged
    for secret in (PROMPT, ANSWER, "of-the-receiver", webhook_secrets(hook_settings.home)[0]):
        assert secret not in logged


def test_a_receiver_that_hangs_holds_up_no_other(hook_settings: Settings, start_api: Callable[..., Api]) -> None:
    api = start_api(hook_settings, Pace(webhooks=Tries(look_s=0.05, longest_s=60.0)))
    with HookReceiver(*[HANG] * 12) as hanging, HookReceiver() as quick:
        for url in [hanging.url] * 12 + [quick.url]:
            last = submit(api, {"url": url, "events": ["canceled"]})
            api.http.post(f"/v1/jobs/{last}/cancel")
        quick.wait_for_events((last, "job.canceled"))
        assert 1 <= len(hanging.arrived) <= 4
        hanging.go_on.set()


def test_a_process_that_stops_gives_back_what_it_was_sending(hook_settings: Settings, start_api: Callable[..., Api]) -> None:
    with HookReceiver(HANG) as receiver:
        with running(hook_settings, PATIENT) as first:
            job_id = submit(first, {"url": receiver.url, "events": ["canceled"]})
            first.http.post(f"/v1/jobs/{job_id}/cancel")
            receiver.wait_for(lambda arrived: len(arrived) == 1)
        start_api(hook_settings, Pace(webhooks=Tries(look_s=0.05, lease_s=3600)))
        one, again = receiver.wait_for_events((job_id, "job.canceled"))
        assert one.event == again.event
        receiver.go_on.set()


@pytest.mark.slow  # its lease lasts 15 s
def test_what_a_killed_process_was_sending_another_one_sends_with_the_same_id(
    hook_settings: Settings, start_api: Callable[..., Api], worker: FakeWorker
) -> None:
    first = Process(hook_settings, MLX_LOCAL_PRIVATE_WEBHOOKS="true")
    with HookReceiver(HANG) as receiver:
        try:
            body = {"messages": [{"role": "user", "content": PROMPT}], "webhook": receiver.url}
            receipt = first.http.post("/v1/chat/completions", json=body, headers={"Prefer": "respond-async"})
            assert receipt.status_code == 202, receipt.text
            job_id = receipt.json()["id"]
            worker.finish_chat(worker.claim(), ANSWER)
            receiver.wait_for(lambda arrived: len(arrived) == 1)
        finally:
            first.close()  # kill -9
        start_api(hook_settings, PATIENT)
        arrived = receiver.wait_for_events((job_id, "job.started"), (job_id, "job.completed"))
        receiver.go_on.set()
    assert [one.about[1] for one in arrived] == ["job.started", "job.started", "job.completed"]
    assert arrived[0].headers["webhook-id"] == arrived[1].headers["webhook-id"]
    verified(hook_settings, arrived)
    started = delivery(worker.store, job_id, "started")
    assert (started.state, started.attempt) == (JobState.SUCCEEDED, 2)
    logged = first.log.read_text()
    assert PROMPT not in logged
    assert "of-the-receiver" not in logged


def test_a_batch_is_told_of_when_its_results_can_be_fetched(hook_settings: Settings, start_api: Callable[..., Api]) -> None:
    api = start_api(hook_settings, HASTY)
    seen: list[Any] = []

    def look(one: Arrived) -> None:
        seen.append(api.openai.batches.retrieve(one.event["data"]["id"]))

    with HookReceiver(on_arrival=look) as receiver:
        asked = {"url": receiver.url, "events": ["started", "completed", "canceled"]}
        batch = start(api.openai, [chat_line("a")], extra_body={"webhook": asked})
        with answering(hook_settings):
            ended(api.openai, batch)
            arrived = receiver.wait_for_events((batch.id, "batch.in_progress"), (batch.id, "batch.completed"))
        other = until(api.openai, start(api.openai, [chat_line("a")], extra_body={"webhook": asked}), "in_progress")
        api.openai.batches.cancel(other.id)
        receiver.wait_for_events((other.id, "batch.cancelled"))
    verified(hook_settings, receiver.arrived)
    completed = arrived[-1]
    event = api.openai.webhooks.unwrap(completed.body, dict(completed.headers), secret=webhook_secrets(hook_settings.home)[0])
    assert isinstance(event, BatchCompletedWebhookEvent)
    assert event.data.id == batch.id
    assert seen[1].output_file_id is not None
    assert (seen[-1].status, seen[-1].error_file_id is None) == ("cancelled", False)


def test_an_address_that_is_private_by_now_is_given_up_at_once(api: Api, api_settings: Settings, store: JobStore) -> None:
    with HookReceiver() as receiver:
        hook = Webhook(url=receiver.url, receiver="http://127.0.0.1:1", events=("canceled",))  # as an API with another setting took it
        new = NewJob(kind=JobKind.CHAT, model="m", lane=Lane.BATCH, request={}, waited=False, webhook=hook)
        store.cancel(store.submit(new, max_queued=10).job_id)
        (event,) = api.http.get("/v1/jobs", params={"kind": "webhook"}).json()["data"]
        while (told := api.http.get(f"/v1/jobs/{event['id']}").json())["state"] in {"queued", "running"}:
            pass
        assert (told["state"], told["attempt"], told["error"]["code"]) == ("failed", 1, "address_not_allowed")
        assert "of-the-receiver" not in told["error"]["message"]
        assert receiver.arrived == []


CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
GOOD = "https://hooks.example/x"


@pytest.mark.parametrize(
    ("webhook", "param", "words"),
    [
        ("ftp://hooks.example/", "webhook", "http:// or https://"),
        ("hooks.example", "webhook", "http:// or https://"),
        ("http://hooks.example:x/", "webhook", "not a valid URL"),
        ("https://user:pass@hooks.example/", "webhook", "user name"),
        ("http://127.0.0.1:9000/", "webhook", "MLX_LOCAL_PRIVATE_WEBHOOKS"),
        ("http://localhost:9000/", "webhook", "MLX_LOCAL_PRIVATE_WEBHOOKS"),
        ({"url": "http://192.168.0.1/"}, "webhook.url", "not public"),
        ("http://169.254.169.254/", "webhook", "not public"),
        ({"url": GOOD, "events": ["begun"]}, "webhook.events.0", "'started'"),
        ({"url": GOOD, "events": []}, "webhook.events", "at least 1"),
        ({"url": GOOD, "secret": "x"}, "webhook.secret", "not a known parameter"),
        ({"events": ["started"]}, "webhook.url", "required"),
        (7, "webhook", "string"),
        ("https://hooks.example/" + "x" * 3000, "webhook", "2048"),
    ],
)
def test_what_can_never_be_told_is_refused_with_the_request(api: Api, webhook: object, param: str, words: str) -> None:
    for path, body, headers in (
        ("/v1/jobs", {"kind": "chat", "request": CHAT, "webhook": webhook}, {}),
        ("/v1/chat/completions", {**CHAT, "webhook": webhook}, {"Prefer": "respond-async"}),
    ):
        response = api.http.post(path, json=body, headers=headers)
        assert response.status_code == 400, response.text
        told = response.json().get("error") or response.json()
        assert (told["param"], words in response.text) == (param, True), response.text


def test_the_field_is_taken_wherever_there_is_a_receipt_and_refused_elsewhere(api: Api, store: JobStore) -> None:
    prefer = {"Prefer": "respond-async"}
    message = {"model": "tiny-chat", "max_tokens": 5, **CHAT}
    for path, body, headers in (
        ("/v1/jobs", {"kind": "chat", "request": CHAT}, {}),
        ("/v1/chat/completions", CHAT, prefer),
        ("/v1/embeddings", {"input": "x"}, prefer),
        ("/v1/messages", message, prefer),
        ("/v1/responses", {"input": "x", "background": True}, {}),
    ):
        answer = api.http.post(path, json={**body, "webhook": GOOD}, headers=headers)
        assert answer.status_code in {200, 202}, answer.text
        hook = json.loads(str(store.client.hget(f"mlx:job:{answer.headers['x-job-id']}", "webhook")))
        assert hook == {"url": GOOD, "receiver": "https://hooks.example:443", "events": ["started", "completed", "failed", "canceled"]}
        assert "webhook" not in str(store.client.hget(f"mlx:job:{answer.headers['x-job-id']}", "request"))
    for path, body in (
        ("/v1/chat/completions", CHAT),
        ("/v1/messages", message),
        ("/v1/responses", {"input": "x"}),
        ("/v1/jobs", {"kind": "chat", "request": {**CHAT, "webhook": GOOD}}),
        ("/v1/jobs", {"kind": "download", "request": {"model": "far-away", "webhook": GOOD}}),
    ):
        refused = api.http.post(path, json={**body, "webhook": GOOD} if path != "/v1/jobs" else body)
        assert (refused.status_code, "POST /v1/batches" in refused.text) == (400, True), refused.text


def test_a_form_has_the_field_as_text(reading_settings: Settings, start_api: Callable[..., Api], store: JobStore) -> None:
    api = start_api(reading_settings)
    picture = {"file": ("a.png", png(32, [bytes(96)] * 32))}
    asked = json.dumps({"url": GOOD, "events": ["failed"]})
    for path, fields, headers in (("/v1/jobs", {"kind": "ocr"}, {}), ("/v1/ocr", {}, {"Prefer": "respond-async"})):
        answer = api.http.post(path, files=picture, data={**fields, "webhook": asked}, headers=headers)
        assert answer.status_code == 202, answer.text
        assert json.loads(str(store.client.hget(f"mlx:job:{answer.json()['id']}", "webhook")))["events"] == ["failed"]
        assert api.http.post(path, files=picture, data={**fields, "webhook": "{"}, headers=headers).status_code == 400
