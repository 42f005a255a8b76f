"""``mlx-local jobs watch``, ``retry`` and pages of ``list``, without any API."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from app.cli.ownership import claim_process
from app.cli.recordings import Recordings
from app.cli.watching import TokenCount, snapshot
from app.jobs.broker import InferenceBroker
from app.jobs.chains import Chains, Child, Plan
from app.jobs.record import JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.streams import StreamEntry
from app.jobs.submission import NewJob
from app.settings import Settings
from daemon.standing import Standing
from tests.integration.command import COMMAND, environment, mlx_local
from tests.integration.fake_worker import FakeWorker
from tests.integration.terminal import on_terminal


@pytest.fixture
def hands(settings: Settings) -> Iterator[FakeWorker]:
    """A worker that does what the test tells it."""
    fake = FakeWorker(settings)
    yield fake
    fake.close()


def submit(store: JobStore) -> str:
    new = NewJob(kind=JobKind.CHAT, model="tiny-chat", lane=Lane.BATCH, request={"messages": []}, waited=False)
    return store.submit(new, max_queued=100).job_id


def test_a_job_is_followed_from_its_queue_to_its_end(settings: Settings, store: JobStore, hands: FakeWorker) -> None:
    job_id = submit(store)
    with subprocess.Popen([*COMMAND, "jobs", "watch", job_id], env=environment(settings), stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline().startswith(f"{job_id}  tiny-chat  queued  No worker is running")
        job = hands.claim()
        assert watch.stdout.readline().startswith(f"{job_id}  tiny-chat  running")
        hands.say(job, "Hi ", ids=(1, 2))
        hands.finish_chat(job, "Hi ")
        assert watch.stdout.read() == f"{job_id}  tiny-chat  succeeded  2 tokens\n"
    assert watch.returncode == 0


def test_the_stage_of_a_job_is_told_and_how_far_its_one_child_is(settings: Settings, store: JobStore, hands: FakeWorker) -> None:
    job_id = submit(store)
    child = Child(kind=JobKind.CHAT, model="tiny-chat", request={"messages": []}, units=30)
    chains = Chains(store)
    chains.plan(hands.claim(), Plan(children=(child,), stage="transcribing", follows=True, unit="seconds"))
    only = hands.try_to_claim(f"{job_id}.0")
    assert only is not None
    with subprocess.Popen([*COMMAND, "jobs", "watch", job_id], env=environment(settings), stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline().endswith("transcribing, 0 of 30 seconds\n")
        chains.plan(only, Plan(children=(child,) * 2, unit="seconds", step="heard"))
        part = hands.try_to_claim(f"{job_id}.0.0")
        assert part is not None
        hands.finish_chat(part, "Hi")
        hands.appear()
        assert "progress     transcribing, 30 of 60 seconds\n" in mlx_local(settings, "jobs", "show", job_id).stdout
        store.cancel(job_id)
        assert watch.stdout.read().splitlines()[-1].endswith("canceled  transcribing, 30 of 60 seconds")


def test_on_a_terminal_one_line_is_drawn_again(settings: Settings, store: JobStore, hands: FakeWorker) -> None:
    job_id = submit(store)
    with on_terminal(settings, "jobs", "watch", job_id) as screen:
        screen.read_until("queued")
        hands.fail(hands.claim(), "engine_error", "The engine broke.")
        screen.read_until("failed  engine_error: The engine broke.")
        assert screen.end() == 1


def test_what_runs_and_what_waits_is_a_live_table(settings: Settings, store: JobStore, hands: FakeWorker) -> None:
    first, second = submit(store), submit(store)
    with on_terminal(settings, "jobs", "watch") as screen:
        screen.read_until(second)
        screen.read_until("0 running, 2 queued")
        job = hands.claim()
        hands.say(job, "Hi", ids=(1, 2, 3))
        screen.read_until("3 tokens")
        screen.read_until("1 running, 1 queued")
        screen.type("\x03")
        assert screen.end() == 130
    assert job.id == first


def test_elsewhere_the_table_is_printed_once(settings: Settings, store: JobStore, hands: FakeWorker) -> None:
    first, second = submit(store), submit(store)
    hands.claim()
    lines = mlx_local(settings, "jobs", "watch").stdout.splitlines()
    facts = json.loads(mlx_local(settings, "jobs", "watch", "--json").stdout)

    assert [line.split()[0] for line in lines[1:3]] == [first, second]
    assert lines[-1].strip() == "1 running, 1 queued"
    assert [job["id"] for job in facts["running"] + facts["queued"]] == [first, second]


def test_the_jobs_of_the_transcribe_folder_have_their_recordings_names(settings: Settings, store: JobStore, hands: FakeWorker) -> None:
    job_id = submit(store)
    files = [
        {"path": "/in/talks/[b]a.wav", "folder": "/in", "stage": "correcting", "progress": None, "job": job_id, "detail": None},
        {"path": "/in/copy.wav", "folder": "/in", "stage": "correcting", "progress": None, "job": job_id, "detail": None},
        {"path": "/in/slow\n.wav", "folder": "/in", "stage": "settling", "progress": None, "job": None, "detail": "process 7 writes"},
        {"path": "/in/bad.wav", "folder": "/in", "stage": "failed", "progress": None, "job": None, "detail": "It broke."},
    ]
    Standing(settings.daemon_dir / "state.json").tell([], files, "", 0)
    recordings = Recordings(settings)
    alone = recordings.without_job()
    lock = claim_process(settings.run_dir, "daemon", None)  # as long as the daemon lives, what it told last is true
    table = mlx_local(settings, "jobs", "watch").stdout
    os.close(lock)
    facts = snapshot(store, recordings)
    with subprocess.Popen([*COMMAND, "jobs", "watch", job_id], env=environment(settings), stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        watch.stdout.readline()
        Standing(settings.daemon_dir / "state.json").tell([], [], "", 0)
        hands.finish_chat(hands.claim(), "Hi")
        last = watch.stdout.read().splitlines()[-1]

    assert alone == []
    assert "talks/[b]a.wav, copy.wav" in table
    assert [line.split() for line in table.splitlines() if "slow" in line] == [
        ["transcript", "batch", "settling", "slow\\n.wav,", "process", "7", "writes"]
    ]
    assert "bad.wav" not in table
    assert facts["queued"][0]["recording"] == "talks/[b]a.wav, copy.wav"
    assert last.startswith(f"{job_id}  tiny-chat  succeeded  talks/[b]a.wav, copy.wav")


def test_a_job_that_ended_long_ago_is_told_at_once(settings: Settings, store: JobStore) -> None:
    job_id = submit(store)
    store.cancel(job_id)
    store.client.delete(f"mlx:tok:{job_id}")  # as its retention does
    done = mlx_local(settings, "jobs", "watch", job_id, "--json")

    assert done.returncode == 1
    assert json.loads(done.stdout)["state"] == "canceled"


def test_the_rate_is_that_of_the_tokens_after_the_first() -> None:
    def entry(entry_id: str, *ids: int) -> StreamEntry:
        return StreamEntry(id=entry_id, type="tokens", attempt=1, ids=ids)

    count = TokenCount()
    count.add([StreamEntry(id="500-0", type="state", attempt=1, state=JobState.RUNNING), entry("1000-0", 1)])
    assert (count.total, count.per_second) == (1, None)
    count.add([entry("1500-0", 2, 3, 4), entry("2000-0", 5)])
    assert (count.total, count.per_second, count.cursor) == (5, 4.0, "2000-0")
    assert str(count) == "5 tokens, 4.0 tokens/s"


def test_a_retry_is_a_new_job_that_the_broker_knows(settings: Settings, store: JobStore) -> None:
    job_id = submit(store)
    store.cancel(job_id)
    job = json.loads(mlx_local(settings, "jobs", "retry", job_id, "--json").stdout)
    broker = InferenceBroker(settings, broker_id="test")

    assert (job["retry_of"], job["state"]) == (job_id, "queued")
    assert broker.client.llen("dramatiq:tiny-chat_batch") == 1
    broker.close()
    assert mlx_local(settings, "jobs", "retry", job_id).stdout.startswith("job_")


def test_a_job_that_has_not_ended_is_not_retried(settings: Settings, store: JobStore) -> None:
    done = mlx_local(settings, "jobs", "retry", submit(store))

    assert done.returncode == 1
    assert "is queued" in done.stderr


def test_a_list_goes_on_after_its_last_job(settings: Settings, store: JobStore) -> None:
    ids = [submit(store) for _ in range(3)]
    page = json.loads(mlx_local(settings, "jobs", "list", "--limit", "2", "--lane", "batch", "--json").stdout)
    rest = json.loads(mlx_local(settings, "jobs", "list", "--after", page[-1]["id"], "--json").stdout)

    assert [job["id"] for job in page + rest] == ids[::-1]


def test_a_list_takes_any_name_of_a_model(api_settings: Settings, store: JobStore) -> None:
    job_id = submit(store)
    for name, expected in (("LITTLE", [job_id]), ("chat", [job_id]), ("far-away", []), ("left-the-catalog", [])):
        listed = json.loads(mlx_local(api_settings, "jobs", "list", "--model", name, "--json").stdout)
        assert [job["id"] for job in listed] == expected
