"""Where a job stands, as its callers see it: in the record, in the comments of streams, on the command line."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.api.services import Pace
from app.jobs.decoding import ModelState
from app.jobs.estimate import Outlook
from app.jobs.record import Job, JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.settings import Settings
from tests.integration.command import mlx_local
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker
from tests.integration.test_swaps import entry, scripted, working
from tests.integration.test_worker_troubles import ends, job, submit, until

HELLO: Any = [{"role": "user", "content": "a secret of mine"}]
GB = 10**9


def waits(seconds: float, detail: str = "tiny-chat needs 9.0 GB.") -> ModelState:
    """Return the state of a model that comes in so many seconds, and then runs two jobs at once for ten seconds each."""
    outlook = Outlook(ready_at=time.time() + seconds, job_s=10.0, slots=2)
    return ModelState(state="waiting", reason="waits_for_memory", detail=detail, outlook=outlook)


def comments(lines: Iterator[str]) -> Iterator[str]:
    return (line for line in lines if line.startswith(":") and "keep-alive" not in line)


@pytest.fixture
def lively(api_settings: Settings, start_api: Callable[..., Api]) -> Api:
    """An API whose streams begin at once, and say at once what has changed."""
    return start_api(api_settings, Pace(first_byte_s=0.01, look_s=0.01))


def ask(store: JobStore, lane: Lane) -> str:
    new = NewJob(kind=JobKind.CHAT, model="tiny-chat", lane=lane, request={"messages": HELLO}, waited=False)
    return store.submit(new, max_queued=100).job_id


def test_a_job_tells_when_it_is_likely_to_start_and_batch_work_counts_the_people(worker: FakeWorker) -> None:
    worker.appear(tiny_chat=ModelState(state="resident", outlook=Outlook(ready_at=0, job_s=10.0, slots=2)))
    later = ask(worker.store, Lane.BATCH)
    people = [ask(worker.store, Lane.INTERACTIVE) for _ in range(3)]
    told = {job_id: worker.store.get(job_id).waiting_for for job_id in (*people, later)}
    assert [waiting.estimate_s for waiting in told.values() if waiting] == [5.0, 10.0, 15.0, 20.0]


def test_where_nobody_can_say_the_estimate_is_null(api: Api, worker: FakeWorker) -> None:
    worker.appear(tiny_chat=ModelState(state="loading"))
    job_id = ask(worker.store, Lane.INTERACTIVE)
    waiting = api.http.get(f"/v1/jobs/{job_id}").json()["waiting_for"]
    assert waiting == {"reason": "model_loading", "detail": "tiny-chat is being loaded.", "estimate_s": None}


def test_a_stream_that_waits_says_why_and_where_and_clients_read_over_it(
    lively: Api, worker: FakeWorker, background: ThreadPoolExecutor
) -> None:
    worker.appear(tiny_chat=waits(3600, "tiny-chat needs 9.0 GB,\nand 1.0 of 10.0 GB are free."))
    with lively.http.stream("POST", "/v1/chat/completions", json={"messages": HELLO, "stream": True}) as response:
        said = comments(response.iter_lines())
        first = next(said)
        assert first.startswith(": waiting position=0 reason=waits_for_memory estimate_s=3")
        assert first.endswith("tiny-chat needs 9.0 GB, and 1.0 of 10.0 GB are free.")
        worker.appear(tiny_chat=ModelState(state="loading", detail="tiny-chat is being loaded."))
        assert any(line == ": waiting position=0 reason=model_loading tiny-chat is being loaded." for line in said)
    call = background.submit(lambda: list(lively.openai.chat.completions.create(model="chat", messages=HELLO, stream=True)))
    taken = worker.claim()
    worker.say(taken, "Hi")
    worker.finish_chat(taken, "Hi")
    assert "".join(chunk.choices[0].delta.content or "" for chunk in call.result()) == "Hi"


def test_the_events_of_a_job_that_waits_say_why_and_where(lively: Api, worker: FakeWorker) -> None:
    worker.appear(tiny_chat=waits(3600))
    job_id = ask(worker.store, Lane.INTERACTIVE)
    with lively.http.stream("GET", f"/v1/jobs/{job_id}/events") as response:
        assert next(comments(response.iter_lines())).startswith(": waiting position=0 reason=waits_for_memory estimate_s=3")


def test_the_command_line_tells_the_estimate(settings: Settings, store: JobStore) -> None:
    worker = FakeWorker(settings)
    worker.appear(tiny_chat=waits(3600))
    job_id = ask(store, Lane.INTERACTIVE)
    worker.close()
    assert "starts in    about 60 min" in mlx_local(settings, "jobs", "show", job_id).stdout
    assert "tiny-chat needs 9.0 GB., starts in about 60 min" in mlx_local(settings, "jobs", "watch").stdout
    assert 3000 < json.loads(mlx_local(settings, "jobs", "show", job_id, "--json").stdout)["waiting_for"]["estimate_s"] <= 3600


def test_status_says_who_waits_for_what_and_how_full_memory_is(settings: Settings, store: JobStore) -> None:
    worker = FakeWorker(settings)
    worker.use(int(9.2 * GB), 16 * GB, taken_bytes=2 * GB, short=True)
    worker.appear(tiny_chat=waits(3600))
    first, _, _ = ask(store, Lane.INTERACTIVE), ask(store, Lane.INTERACTIVE), ask(store, Lane.BATCH)
    worker.close()
    printed = mlx_local(settings, "status").stdout
    told = json.loads(mlx_local(settings, "status", "--json").stdout)["store"]

    assert "9.2 of 16.0 GB are used" in printed
    assert "2.0 GB of the rest are with other programs" in printed
    assert "Other programs use nearly all of this machine's memory" in printed
    assert "2 queued in tiny-chat_interactive for tiny-chat, the first since 20" in printed
    assert "tiny-chat needs 9.0 GB. It starts in about 60 min." in printed
    assert (told["workers"][0]["budget_bytes"], told["workers"][0]["memory_short"]) == (16 * GB, True)
    queues = {one["lane"]: one for one in told["waiting"]}
    assert {lane: one["jobs"] for lane, one in queues.items()} == {"interactive": 2, "batch": 1}
    assert queues["interactive"]["id"] == first
    assert queues["interactive"]["waiting_for"]["reason"] == "waits_for_memory"
    assert queues["batch"]["waiting_for"]["estimate_s"] > queues["interactive"]["waiting_for"]["estimate_s"]


def test_batch_work_that_waits_for_the_charger_says_so_and_interactive_work_does_not(settings: Settings, store: JobStore) -> None:
    worker = FakeWorker(settings)
    worker.use(0, 16 * GB, batch_waits="low_charge")
    people, batch = ask(store, Lane.INTERACTIVE), ask(store, Lane.BATCH)
    worker.close()
    told = {job_id: store.get(job_id).waiting_for for job_id in (people, batch)}

    assert {job_id: waits and waits.reason for job_id, waits in told.items()} == {people: "queue", batch: "low_charge"}
    assert "Power      This machine's battery is low: batch work waits" in mlx_local(settings, "status").stdout


def test_on_battery_status_says_that_everything_runs_and_until_when(settings: Settings, tmp_path: Path) -> None:
    pmset = tmp_path / "pmset"
    pmset.write_text("#!/bin/sh\necho \"Now drawing from 'Battery Power'\"; echo ' -InternalBattery-0 (id=1) 64%; discharging'\n")
    pmset.chmod(0o755)
    worker = FakeWorker(settings)
    worker.use(0, 16 * GB)
    worker.close()
    more = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "MLX_LOCAL_ON_LOW_POWER": "interactive"}

    told = mlx_local(settings, "status", **more).stdout
    assert "Power      This machine runs on battery (64%), and everything runs; batch work waits below 20%." in told


def test_a_real_worker_estimates_from_what_it_has_seen(settings: Settings, store: JobStore, private_folder: Path) -> None:
    engine = 'engine = "tests.{}"\nmemory = "9GB"\n'
    patient = scripted(private_folder, "patient")
    (patient / "go").touch()
    catalog = entry("patient", patient, engine.format("troubled_engine:open_patient"))
    catalog += entry("scripted", scripted(private_folder, "scripted"), engine.format("scripted_engine:open_frontend"))
    seen, short, long, late = job("patient", "say 2"), job("scripted", "say 2"), job("scripted", "say 400"), job("patient", "say 2")

    def waiting() -> Job | None:
        found = store.get(late.id)
        return found if found.waiting_for and found.waiting_for.reason == "waits_for_memory" else None

    async def scenario(chosen: Settings) -> None:
        gateway = await submit(chosen, seen)
        await ends(gateway, seen)
        await gateway.submit(short)
        await ends(gateway, short)
        await gateway.submit(long)
        await until(lambda: store.get(long.id).state is JobState.RUNNING)
        await gateway.submit(late)
        await until(lambda: (found := waiting()) is not None and found.waiting_for is not None and found.waiting_for.estimate_s is not None)
        (said,) = store.workers()
        assert (said.budget_bytes, said.used_bytes, said.memory_short) == (10 * GB, 9 * GB, False)
        assert set(await ends(gateway, long, late)) == {JobState.SUCCEEDED}
        await gateway.close()

    with working(settings, private_folder, catalog, 10 * GB) as (chosen, _):
        asyncio.run(scenario(chosen))
