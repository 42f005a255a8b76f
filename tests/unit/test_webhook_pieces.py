"""What of webhooks needs neither a store nor a network: when they are tried, what they say, what they are signed with."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import InvalidWebhookSignatureError, OpenAI
from openai.types.webhooks import BatchExpiredWebhookEvent

from app.api.webhooks.sending import body_of, signed
from app.api.webhooks.tries import Tries
from app.errors import Failure
from app.jobs.hooks import Event, Told
from app.jobs.record import JobKind
from app.webhook_secret import rotate_webhook_secret, webhook_secret_path, webhook_secrets

TRIES = Tries(waits_s=(1, 10, 100), give_up_s=1000, most_asked_s=200)


@pytest.mark.parametrize(
    ("attempt", "age_s", "asked_s", "luck", "wait_s"),
    [
        (1, 0, 0, 0, 1),
        (3, 0, 0, 0, 100),
        (9, 0, 0, 0, 100),
        (2, 0, 0, 1, 12),
        (1, 0, 50, 0, 50),
        (3, 0, 50, 0, 100),
        (1, 0, 10**6, 0, 200),
        (3, 900, 0, 0, 100),
        (3, 901, 0, 0, None),
        (1, 900, 150, 0, None),
    ],
)
def test_waits_grow_heed_the_receiver_within_bounds_and_end(
    attempt: int, age_s: float, asked_s: float, luck: float, wait_s: float | None
) -> None:
    assert TRIES.wait_s(attempt, age_s, asked_s, luck) == wait_s


@given(st.floats(0, 1), st.floats(0, 1e9))
def test_an_event_is_tried_often_in_three_days_and_never_after(luck: float, asked_s: float) -> None:
    tries, at_s, attempts = Tries(), 0.0, 1
    while (wait_s := tries.wait_s(attempts, at_s, asked_s, luck)) is not None:
        at_s, attempts = at_s + wait_s, attempts + 1
    assert at_s <= 3 * 86400
    assert 9 <= attempts <= 20


def told(event: Event, kind: JobKind = JobKind.CHAT, code: str | None = None) -> Told:
    state = {"started": "running", "completed": "succeeded", "failed": "failed", "canceled": "canceled"}[event]
    error = Failure(code=code, message="Why.") if code else None
    named = {"id": "evt_1", "event": event, "at": 1, "job": "job_0a", "kind": kind, "model": "m", "state": state, "error": error}
    return Told.model_validate(named | {"url": "http://127.0.0.1/?token=secret", "receiver": "http://127.0.0.1:80"})


def test_a_body_names_the_job_and_how_it_stands_and_not_the_address() -> None:
    body = json.loads(body_of(told("failed", code="engine_error")))
    error = {"code": "engine_error", "message": "Why.", "param": None}
    data = {"id": "job_0a", "kind": "chat", "model": "m", "state": "failed", "error": error, "retry_of": None}
    assert body == {"id": "evt_1", "object": "event", "created_at": 1, "type": "job.failed", "data": data}


def test_batches_are_told_of_in_openais_words() -> None:
    cases: list[tuple[Event, str | None]] = [("started", None), ("completed", None), ("failed", "x"), ("canceled", None)]
    cases += [("canceled", "deadline_exceeded")]
    bodies = [json.loads(body_of(told(event, JobKind.BATCH, code))) for event, code in cases]
    words = ["in_progress", "completed", "failed", "cancelled", "expired"]
    assert [(body["type"], body["data"]["status"]) for body in bodies] == [(f"batch.{word}", word) for word in words]
    assert {body["data"]["id"] for body in bodies} == {"batch_0a"}


def test_openais_client_believes_the_newest_secret_and_the_one_before_it_and_nothing_else(tmp_path: Path) -> None:
    first = webhook_secrets(tmp_path)
    assert webhook_secrets(tmp_path) == first
    second = rotate_webhook_secret(tmp_path)
    assert webhook_secrets(tmp_path) == (second, *first)
    third = rotate_webhook_secret(tmp_path)
    known = webhook_secrets(tmp_path)
    assert known == (third, second)
    assert stat.S_IMODE(webhook_secret_path(tmp_path).stat().st_mode) == 0o600

    body = body_of(told("canceled", JobKind.BATCH, "deadline_exceeded"))
    now = int(time.time())
    headers = signed("evt_1", now, body, known)
    client = OpenAI(api_key="none")
    for secret in known:
        event = client.webhooks.unwrap(body, headers, secret=secret)
        assert isinstance(event, BatchExpiredWebhookEvent)
        assert event.data.id == "batch_0a"
    forged = body.replace(b"batch_0a", b"batch_0b")
    for content, sent, secret in (
        (body, headers, first[0]),
        (forged, headers, third),
        (body, headers | {"webhook-id": "evt_2"}, third),
        (body, headers | {"webhook-timestamp": str(now - 1)}, third),
        (body, signed("evt_1", now - 600, body, known), third),
    ):
        with pytest.raises(InvalidWebhookSignatureError):
            client.webhooks.verify_signature(content, sent, secret=secret)
