"""Jobs that make several answers: each goes on by itself through kills of the worker, and they end together, once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.jobs import keys
from app.jobs.gateway import JobGateway
from app.jobs.record import JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.streams import StreamEntry
from app.jobs.submission import NewJob
from app.settings import Settings
from tests.integration.worker_process import WorkerProcess, scripted_catalog


@pytest.fixture
def worker(settings: Settings, private_folder: Path) -> Iterator[WorkerProcess]:
    process = WorkerProcess(settings.model_copy(update={"catalog": scripted_catalog(private_folder)}))
    process.start()
    yield process
    assert process.stop() == 0


def completion(*prompts: str, **fields: Any) -> NewJob:  # noqa: ANN401
    request = {"prompt": list(prompts), **fields}
    return NewJob(kind=JobKind.COMPLETION, model="scripted", lane=Lane.BATCH, request=request, waited=False)


def answer(count: int) -> str:
    return "".join(f"w{n} " for n in range(count))


async def entries_of(gateway: JobGateway, new: NewJob, worker: WorkerProcess | None = None, kill_after: int = 0) -> list[StreamEntry]:
    """Return the job's whole stream; kill its worker once, after so many tokens."""
    entries: list[StreamEntry] = []
    async for entry in gateway.follow(new.id):
        entries.append(entry)
        if worker and worker.starts == 1 and entry.attempt == 1 and sum(len(one.ids) for one in entries) >= kill_after:
            worker.kill()
            kill_after = 1_000_000
    return entries


def run(settings: Settings, new: NewJob, worker: WorkerProcess | None = None, kill_after: int = 0) -> list[StreamEntry]:
    async def scenario() -> list[StreamEntry]:
        gateway = await JobGateway.open(settings)
        await gateway.submit(new)
        entries = await asyncio.wait_for(entries_of(gateway, new, worker, kill_after), 60)
        await gateway.close()
        return entries

    return asyncio.run(scenario())


def texts(entries: list[StreamEntry]) -> dict[int, str]:
    found: dict[int, str] = defaultdict(str)
    for entry in entries:
        found[entry.choice] += entry.text
    return dict(found)


def test_every_prompt_gets_its_answers_in_order_and_usage_counts_a_prompt_once(
    settings: Settings, store: JobStore, worker: WorkerProcess
) -> None:
    new = completion("say 3", "say 5", n=2, echo=True)
    entries = run(settings, new)
    expected = ["say 3" + answer(3)] * 2 + ["say 5" + answer(5)] * 2
    assert texts(entries) == dict(enumerate(expected))
    record = store.get(new.id)
    assert [choice["text"] for choice in record.output["choices"]] == expected
    assert [choice["index"] for choice in record.output["choices"]] == [0, 1, 2, 3]
    assert record.usage is not None
    assert (record.usage["prompt_tokens"], record.usage["completion_tokens"]) == (10, 16)


def test_answers_go_on_by_themselves_after_a_kill_and_so_do_their_likelihoods(
    settings: Settings, store: JobStore, worker: WorkerProcess
) -> None:
    new = completion("say 40", "say 60", "say 80", n=2, logprobs=1)
    entries = run(settings, new, worker, kill_after=60)
    assert {entry.attempt for entry in entries if entry.type == "tokens"} == {1, 2}
    assert texts(entries) == {n: answer(size) for n, size in enumerate([40, 40, 60, 60, 80, 80])}
    record = store.get(new.id)
    assert store.client.hget(keys.job(new.id), "commits") == "1"
    assert store.client.hget(keys.job(new.id), "charges") == "0"
    for choice, size in zip(record.output["choices"], [40, 40, 60, 60, 80, 80], strict=True):
        assert choice["text"] == answer(size)
        assert choice["logprobs"]["tokens"] == [f"w{n} " for n in range(size)]
        assert choice["logprobs"]["token_logprobs"] == [-float(n) for n in range(size)]
        assert choice["logprobs"]["text_offset"][-1] == len(answer(size - 1))


def test_an_echo_is_told_once_whatever_is_killed(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    new = completion("say 50", n=3, echo=True)
    entries = run(settings, new, worker, kill_after=20)
    assert texts(entries) == dict.fromkeys(range(3), "say 50" + answer(50))
    assert {choice["text"] for choice in store.get(new.id).output["choices"]} == {"say 50" + answer(50)}


def test_one_answer_that_fails_fails_the_job_and_frees_the_others_slots(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    new = completion(*["say 100000"] * 7, "refuse")
    run(settings, new)
    failed = store.get(new.id)
    assert (failed.state, failed.error and failed.error.code) == (JobState.FAILED, "engine_error")
    after = completion("say 2")
    run(settings, after)
    assert store.get(after.id).output["choices"][0]["text"] == answer(2)


def test_any_choice_that_kills_the_worker_charges_the_job(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    new = completion("die", "die", "die")
    run(settings, new)
    failed = store.get(new.id)
    assert (failed.state, failed.attempt) == (JobState.FAILED, 3)
    assert failed.error is not None
    assert failed.error.code == "worker_crashed"


def test_a_choice_that_kills_the_worker_when_the_others_are_done_charges_the_job_too(
    settings: Settings, store: JobStore, worker: WorkerProcess
) -> None:
    new = completion(*["say 5"] * 8, "die")  # eight slots: the ninth is alone in its step
    run(settings, new)
    failed = store.get(new.id)
    assert (failed.state, failed.error and failed.error.code) == (JobState.FAILED, "worker_crashed")
    assert failed.attempt >= 3  # attempts that published something are not charged


def test_a_cancelled_job_frees_the_slots_of_all_its_answers(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    new, after = completion("say 100000", n=16), completion("say 2")

    async def scenario() -> None:
        gateway = await JobGateway.open(settings)
        await gateway.submit(new)
        async for entry in gateway.follow(new.id):
            if entry.choice == 7:
                break
        await gateway.cancel(new.id)
        await gateway.submit(after)
        await asyncio.wait_for(entries_of(gateway, after), 30)
        await gateway.close()

    asyncio.run(scenario())
    assert store.get(new.id).state is JobState.CANCELED
    assert store.get(after.id).state is JobState.SUCCEEDED
