"""Events become deliveries in the moves of their jobs: each once, in order, and whoever takes one has it for a while."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from app.errors import DeadlineExceeded, Failure, QueueFull
from app.jobs import keys, reconcile
from app.jobs.batch_record import ALL_MODELS, Outcome
from app.jobs.batches import Batches, ClerkId
from app.jobs.claims import Claimed
from app.jobs.deliveries import Deliveries, Delivery
from app.jobs.hooks import EVENTS, Event, Webhook
from app.jobs.purge import cancel_all
from app.jobs.record import Job, JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.settings import Settings

FAILURE = Failure(code="webhook_failed", message="The receiver answered with status 500.")
_LEASE_S = 3600.0


def hook(receiver: str = "http://one:80", events: Sequence[Event] = EVENTS) -> Webhook:
    return Webhook(url=f"{receiver}/hook", receiver=receiver, events=tuple(events))


def submit(store: JobStore, webhook: Webhook | None, **more: Any) -> str:  # noqa: ANN401 - fields of a job
    facts: dict[str, Any] = {"kind": JobKind.CHAT, "model": "m", "lane": Lane.BATCH, "request": {"messages": ["a secret"]}, "waited": False}
    return store.submit(NewJob.model_validate({**facts, "webhook": webhook, **more}), max_queued=100).job_id


def claim(store: JobStore, job_id: str, announce: int = 1) -> None:
    assert isinstance(store.claim(job_id, announce, worker="w", token="t"), Claimed)


def run(store: JobStore, job_id: str) -> None:
    claim(store, job_id)
    assert store.commit(job_id, "t", JobState.SUCCEEDED, output=b'"an answer"')


def take(
    store: JobStore, most: int = 100, most_each: int = 100, busy: dict[str, int] | None = None, lease_s: float = _LEASE_S
) -> list[Delivery]:
    return Deliveries(store).take(most=most, most_each=most_each, busy=busy or {}, lease_s=lease_s)


def events_of(store: JobStore, job_id: str) -> list[str]:
    """Deliver what there is of a job, and return what it was."""
    told = []
    while taken := take(store):
        for delivery in taken:
            assert Deliveries(store).delivered(delivery, 204)
            if delivery.told.job == job_id:
                told.append(f"{delivery.told.event}:{delivery.told.state}:{delivery.told.error.code if delivery.told.error else ''}")
    return told


def deliveries(store: JobStore) -> list[Job]:
    """Return them in the order in which they were made."""
    return store.list_jobs(kind=JobKind.WEBHOOK, limit=100)[::-1]


def test_each_end_of_a_job_is_told_and_its_start_once_however_often_it_starts(store: JobStore) -> None:
    done, failed, canceled, late = (submit(store, hook()) for _ in range(4))
    run(store, done)
    claim(store, failed)
    store.release(failed, "t")  # its worker stopped
    claim(store, failed, 2)
    store.commit(failed, "t", JobState.FAILED, error=Failure(code="engine_error", message="It broke."))
    store.cancel(canceled)
    store.client.hset(keys.job(late), "deadline", "1")
    store.claim(late, 1, worker="w", token="t")
    assert store.get(late).error == DeadlineExceeded().as_fact()
    assert events_of(store, done) == ["started:running:", "completed:succeeded:"]
    told = [f"{job.event} of {job.about}" for job in deliveries(store)]
    assert told[2:] == [f"started of {failed}", f"failed of {failed}", f"canceled of {canceled}", f"canceled of {late}"]
    assert {job.state for job in deliveries(store)} == {JobState.SUCCEEDED}


def test_only_what_was_asked_for_is_told_and_children_are_told_of_by_nobody(store: JobStore) -> None:
    silent, job_id = submit(store, None), submit(store, hook(events=["completed"]))
    run(store, silent)
    run(store, job_id)
    (delivery,) = take(store)
    told = delivery.told
    assert (told.event, told.job, told.url, told.model) == ("completed", job_id, "http://one:80/hook", "m")
    assert "secret" not in str(told)
    assert "answer" not in str(told)
    job = store.get(job_id)
    assert (job.child_count, store.get(delivery.id).parent) == (0, None)
    assert store.held() == []  # a delivery that is being tried is no worker's to be rescued from


def test_an_event_waits_until_the_earlier_ones_of_its_job_are_delivered_or_given_up(store: JobStore) -> None:
    first, second = submit(store, hook()), submit(store, hook())
    run(store, first)
    run(store, second)
    shown = Deliveries(store)
    one, two = take(store)
    assert [(each.told.job, each.told.event) for each in (one, two)] == [(first, "started"), (second, "started")]
    waiting = [job.waiting_for.reason for job in deliveries(store) if job.waiting_for]
    assert waiting == ["earlier_events", "earlier_events"]
    shown.put_back(one, 3600, FAILURE)
    assert take(store) == []
    put_back = store.get(one.id)
    assert (put_back.state, put_back.attempt, put_back.error) == (JobState.QUEUED, 1, FAILURE)
    assert put_back.waiting_for is not None
    assert (put_back.waiting_for.reason, 3500 < (put_back.waiting_for.estimate_s or 0) <= 3601) == ("next_try", True)
    shown.given_up(two, FAILURE)
    (third,) = take(store)
    assert (third.told.job, third.told.event) == (second, "completed")
    assert store.get(two.id).state is JobState.FAILED
    store.cancel(one.id)
    (fourth,) = take(store)
    assert (fourth.told.job, fourth.told.event) == (first, "completed")


def test_what_a_dead_process_was_trying_is_taken_over_and_what_it_says_later_is_not_heard(store: JobStore) -> None:
    run(store, submit(store, hook(events=["completed"])))
    shown = Deliveries(store)
    (dead,) = take(store, lease_s=0.0)  # it dies at once
    (living,) = take(store)
    assert (living.id, living.attempt, living.told) == (dead.id, 2, dead.told)
    assert take(store) == []
    assert not shown.given_up(dead, FAILURE)
    assert shown.delivered(living, 204)
    assert not shown.delivered(living, 204)  # once more, after a lost answer
    assert store.get(dead.id).error is None
    assert store.client.keys(f"{keys.PREFIX}webhooks*") == []


def test_a_receiver_that_is_busy_leaves_room_for_others(store: JobStore) -> None:
    for receiver in ("http://slow:80", "http://slow:80", "http://slow:80", "https://quick:443"):
        store.cancel(submit(store, hook(receiver, ["canceled"])))
    assert [each.told.receiver for each in take(store, most_each=2)] == ["http://slow:80", "http://slow:80", "https://quick:443"]
    assert take(store, most_each=2, busy={"http://slow:80": 2}) == []
    assert [each.told.receiver for each in take(store, most_each=2, busy={"http://slow:80": 1})] == ["http://slow:80"]


def test_a_delivery_is_cancelled_and_retried_like_any_job_with_the_event_that_it_had(store: JobStore) -> None:
    job_id = submit(store, hook(events=["completed", "canceled"]), owner="anna")
    store.cancel(job_id)
    (delivery,) = take(store)
    store.cancel(delivery.id)  # while it is being tried
    assert not Deliveries(store).delivered(delivery, 204)
    again = store.retry(delivery.id, max_queued=100)
    (retried,) = take(store)
    assert (retried.id, retried.told) == (again.id, delivery.told)
    assert (again.retry_of, again.owner, again.about, again.event) == (delivery.id, "anna", job_id, "canceled")
    assert [job.id for job in store.list_jobs(owner="anna", kind=JobKind.WEBHOOK)] == [again.id, delivery.id]
    assert [job.id for job in store.list_jobs(owner="anna")] == [job_id]


def test_a_retried_job_is_told_of_to_whom_the_first_one_was(store: JobStore) -> None:
    job_id = submit(store, hook(events=["canceled"]))
    store.cancel(job_id)
    again = store.retry(job_id, max_queued=100)
    store.cancel(again.id)
    assert [(each.told.job, each.told.retry_of) for each in take(store)] == [(job_id, None), (again.id, job_id)]


@pytest.mark.parametrize(("ends", "event"), [("refused", "failed"), ("canceled", "canceled"), ("settled", "completed")])
def test_a_batch_has_ended_for_its_webhook_when_its_results_are_there(store: JobStore, ends: str, event: str) -> None:
    request = {"endpoint": "/v1/embeddings", "input_file_id": "file-1", "completion_window": "24h"}
    batch = submit(store, hook(), kind=JobKind.BATCH, model=ALL_MODELS, request=request)
    batches, clerk = Batches(store), ClerkId(batch, "api-1:0", "api-1:")
    batches.attend(clerk)
    if ends == "refused":
        batches.refuse(clerk, Failure(code="invalid_request", message="No."), [])
        assert events_of(store, batch) == ["failed:failed:invalid_request"]
        return
    batches.begin(clerk, 0, None)
    assert events_of(store, batch) == ["started:running:"]
    if ends == "canceled":
        store.cancel(batch)
    assert events_of(store, batch) == []
    batches.settle(clerk, Outcome(completed=0, failed=0))
    (told,) = events_of(store, batch)
    assert told.startswith(event)


def test_receivers_that_are_away_keep_no_job_out_but_one_that_would_be_told_of(store: JobStore) -> None:
    for _ in range(3):
        run(store, submit(store, hook()))
    facts: dict[str, Any] = {"kind": JobKind.CHAT, "model": "m", "lane": Lane.BATCH, "request": {}, "waited": False}
    store.submit(NewJob.model_validate(facts), max_queued=2)
    with pytest.raises(QueueFull):
        store.submit(NewJob.model_validate({**facts, "webhook": hook()}), max_queued=2)


def test_delivered_events_leave_soon_and_what_was_given_up_stays(store: JobStore, settings: Settings) -> None:
    job_id = submit(store, hook())
    run(store, job_id)
    (started,) = take(store)
    Deliveries(store).delivered(started, 204)
    (completed,) = take(store)
    Deliveries(store).given_up(completed, FAILURE)
    reconcile.expire(store, settings.model_copy(update={"keep_waited": settings.keep_waited * 0}))
    assert [job.id for job in store.list_jobs()] == [job_id]
    assert [job.id for job in deliveries(store)] == [completed.id]


def test_cancelling_everything_leaves_nothing_to_be_told(store: JobStore) -> None:
    running = submit(store, hook())
    claim(store, running)
    submit(store, hook())
    cancel_all(store)
    assert {job.state for job in [*store.list_jobs(), *deliveries(store)]} == {JobState.CANCELED}
    assert store.client.keys(f"{keys.PREFIX}webhooks*") == []


class _Meanwhile(JobStore):
    """A try ends without success while the first of all jobs is being cancelled."""

    def cancel(self, job_id: str) -> Job:
        for delivery in self.under_way:
            Deliveries(self).put_back(delivery, 60.0, FAILURE)
        self.under_way = ()
        return super().cancel(job_id)

    under_way: Sequence[Delivery] = ()


def test_cancelling_everything_finds_what_is_put_back_meanwhile(store: JobStore) -> None:
    store = _Meanwhile(store.client, store.spool)
    for _ in range(2):
        run(store, submit(store, hook()))
    store.under_way = take(store, most=1)
    cancel_all(store)
    assert {job.state for job in deliveries(store)} == {JobState.CANCELED}
