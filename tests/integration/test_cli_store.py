"""Commands that read the store and so work while the API is down: ``status``, ``jobs``, ``models``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic_core import to_json

from app.errors import Failure
from app.jobs.claims import Claimed
from app.jobs.decoding import ModelState
from app.jobs.record import JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.settings import Settings, load_settings
from tests.integration.command import mlx_local
from tests.integration.fake_worker import FakeWorker


def submit(store: JobStore, kind: JobKind = JobKind.CHAT) -> str:
    """Submit a job that nobody waits on."""
    new = NewJob(kind=kind, model="tiny-chat", lane=Lane.BATCH, request={"messages": []}, waited=False)
    return store.submit(new, max_queued=100).job_id


def run(store: JobStore, job_id: str) -> Claimed:
    """Claim a job as a worker does."""
    claimed = store.claim(job_id, 1, worker="w", token="t")
    assert isinstance(claimed, Claimed)
    return claimed


def test_jobs_are_listed_newest_first_and_filtered(settings: Settings, store: JobStore) -> None:
    first, second = submit(store), submit(store, JobKind.EMBEDDING)
    text = mlx_local(settings, "jobs", "list").stdout.splitlines()

    assert text[0].split()[:5] == ["JOB", "KIND", "MODEL", "LANE", "STATE"]
    assert [line.split()[:5] for line in text[1:]] == [
        [second, "embedding", "tiny-chat", "batch", "queued"],
        [first, "chat", "tiny-chat", "batch", "queued"],
    ]
    listed = json.loads(mlx_local(settings, "jobs", "list", "--kind", "chat", "--json").stdout)
    assert [job["id"] for job in listed] == [first]
    assert mlx_local(settings, "jobs", "list", "--state", "failed").stdout == "No jobs.\n"


def test_a_job_is_shown_with_what_came_of_it(settings: Settings, store: JobStore) -> None:
    done, failed, waiting = submit(store), submit(store), submit(store)
    run(store, done)
    store.commit(done, "t", JobState.SUCCEEDED, output=to_json({"answer": "Grüße"}), usage={"total_tokens": 3})
    run(store, failed)
    store.commit(failed, "t", JobState.FAILED, error=Failure(code="engine_error", message="The engine broke."))

    assert json.loads(mlx_local(settings, "jobs", "show", done, "--json").stdout)["output"] == {"answer": "Grüße"}
    shown = mlx_local(settings, "jobs", "show", done).stdout
    assert "state        succeeded" in shown
    assert '"answer": "Grüße"' in shown
    assert "error        engine_error: The engine broke." in mlx_local(settings, "jobs", "show", failed).stdout
    assert "waiting for  no_worker: " in mlx_local(settings, "jobs", "show", waiting).stdout


def test_an_output_too_large_for_redis_is_shown_too(settings: Settings, store: JobStore) -> None:
    job_id = submit(store)
    run(store, job_id)
    store.commit(job_id, "t", JobState.SUCCEEDED, output=to_json({"answer": "x" * 100_000}))

    assert len(json.loads(mlx_local(settings, "jobs", "show", job_id, "--json").stdout)["output"]["answer"]) == 100_000


def test_a_job_is_cancelled_at_once_and_again_without_harm(settings: Settings, store: JobStore) -> None:
    job_id = submit(store)

    assert mlx_local(settings, "jobs", "cancel", job_id).stdout == f"{job_id} is canceled.\n"
    assert store.get(job_id).state is JobState.CANCELED
    assert mlx_local(settings, "jobs", "cancel", job_id).returncode == 0


@pytest.mark.parametrize("command", ["show", "cancel"])
def test_an_unknown_job_is_a_sentence(settings: Settings, command: str) -> None:
    done = mlx_local(settings, "jobs", command, "job_nobody")

    assert done.returncode == 1
    assert "job_nobody" in done.stderr


def test_status_says_what_is_in_memory_and_what_waits(settings: Settings, store: JobStore) -> None:
    submit(store)
    worker = FakeWorker(settings)
    worker.appear(tiny_chat=ModelState(state="resident", bytes=1_500_000_000))
    worker.close()
    done = mlx_local(settings, "status")
    facts = json.loads(mlx_local(settings, "status", "--json").stdout)

    assert done.returncode == 0
    assert "tiny-chat: resident, 1.50 GB" in done.stdout
    assert "1 queued in tiny-chat_batch" in done.stdout
    assert facts["processes"] == {}
    assert facts["api"]["api"] == {"port": settings.port, "answers": False}
    assert facts["store"]["jobs"]["queued"] == 1
    assert facts["store"]["queues"] == {"tiny-chat_batch": 1}
    assert len(facts["store"]["workers"]) == 1


def test_models_are_listed_with_role_files_and_state(api_settings: Settings) -> None:
    worker = FakeWorker(api_settings)
    worker.appear(tiny_chat=ModelState(state="resident", bytes=7))
    worker.close()
    rows = {row["id"]: row for row in json.loads(mlx_local(api_settings, "models", "list", "--json").stdout)}

    assert (rows["tiny-chat"]["roles"], rows["tiny-chat"]["downloaded"], rows["tiny-chat"]["state"]) == (["chat"], True, "resident")
    assert (rows["far-away"]["roles"], rows["far-away"]["downloaded"], rows["far-away"]["state"]) == ([], False, None)
    assert rows["tiny-chat"]["aliases"] == ["little"]
    assert (rows["tiny-chat"]["disk_bytes"], rows["far-away"]["disk_bytes"]) == (2, 0)
    assert "tiny-embed" in mlx_local(api_settings, "models", "list").stdout


def test_models_are_listed_while_nothing_runs(private_folder: Path) -> None:
    done = mlx_local(load_settings(home=private_folder / "home", profile="starter"), "models", "list")

    assert done.returncode == 0
    assert "smollm2-135m-instruct" in done.stdout


@pytest.mark.parametrize("command", [("status",), ("jobs", "list"), ("jobs", "show", "job_x"), ("jobs", "cancel", "job_x")])
def test_where_nothing_runs_a_command_says_so_with_code_3(private_folder: Path, command: tuple[str, ...]) -> None:
    done = mlx_local(load_settings(home=private_folder / "home", port=1, audio_port=2), *command)

    assert done.returncode == 3
    assert "mlx-local up" in done.stdout + done.stderr
