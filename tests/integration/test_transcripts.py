"""A recording is written down and corrected as one job, whatever dies meanwhile; each model is asked for each part once."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ByteSize

from app.api.transcripts import TranscriptAnswer
from app.jobs import keys
from app.jobs.chains import Chains
from app.jobs.gateway import JobGateway
from app.jobs.record import Job, JobKind, JobState, Lane, new_job_id
from app.jobs.store import JobStore
from app.jobs.streams import StreamEntry
from app.jobs.submission import NewJob
from app.settings import Settings
from tests.integration.test_worker_crashes import everything
from tests.integration.test_worker_troubles import until
from tests.integration.worker_process import WorkerProcess
from tests.scripted_transcripts import STRETCH_S, calls, catalog, recording

_LINES = [f"hm number {n} of teh talk begins here and it goes on for a while until teh speaker stops for time {n} or so." for n in range(9)]


@pytest.fixture
def worker(settings: Settings, private_folder: Path) -> Iterator[WorkerProcess]:
    """A worker with a model that hears and one that corrects, not started yet."""
    process = WorkerProcess(settings.model_copy(update={"catalog": catalog(private_folder)}))
    yield process
    if process.starts:
        assert process.stop() == 0


def transcript(store: JobStore, lines: list[str], seed: int = 1, **request: Any) -> NewJob:  # noqa: ANN401 - any field
    """Keep a recording in which *lines* are said, and return its job."""
    job_id = new_job_id()
    blob = store.spool.put(recording(len(lines), seed), holder=job_id)
    asked = {"prompt": "\n".join(lines), "correction_model": "editor", "piece_characters": 200, **request}
    return NewJob(id=job_id, kind=JobKind.TRANSCRIPT, model="ears", lane=Lane.BATCH, request=asked, waited=False, blobs=(blob,))


def run(settings: Settings, scenario: Callable[[JobGateway], Awaitable[None]]) -> None:
    async def main() -> None:
        gateway = await JobGateway.open(settings)
        try:
            await scenario(gateway)
        finally:
            await gateway.close()

    asyncio.run(main())


def done(settings: Settings, store: JobStore, new: NewJob, see: Callable[[StreamEntry], object] = lambda _: None) -> Job:
    async def scenario(gateway: JobGateway) -> None:
        await gateway.submit(new)
        async for entry in gateway.follow(new.id):
            see(entry)

    run(settings, scenario)
    return store.get(new.id)


def output(store: JobStore, job: Job) -> dict[str, Any]:
    """Return what came of a job, which must be as the document of the API says."""
    assert job.state is JobState.SUCCEEDED, job.error
    made = json.loads(store.output(job.id).content)
    TranscriptAnswer.model_validate(made)
    return dict(made)


def test_a_recording_is_written_down_and_corrected(
    settings: Settings, store: JobStore, private_folder: Path, worker: WorkerProcess
) -> None:
    seen: list[StreamEntry] = []
    worker.start()
    job = done(settings, store, transcript(store, _LINES, hotwords=["talk", "speaker", "river"]), seen.append)
    made = output(store, job)
    text = "\n\n".join(_LINES)
    assert (made["object"], made["model"], made["correction_model"], made["language"]) == ("transcript", "ears", "editor", "en")
    assert made["text"] == text
    assert [segment["text"] for segment in made["segments"]] == _LINES
    assert "".join(piece["raw"] for piece in made["pieces"]) == text
    assert made["corrected_pieces"] == made["total_pieces"] == len(made["pieces"]) > 3
    assert re.sub(r"\s", "", made["corrected"].lower()) == re.sub(r"\s", "", text.replace("hm ", "").replace("teh", "the").lower())
    assert made["warnings"] == ["Of 3 hot words the first 2 were told to 'ears': it takes no more."]
    assert made["usage"] == job.usage
    assert (made["usage"]["seconds"], made["usage"]["completion_tokens"] > 0) == (round(made["duration"]), True)
    # Chunks that are let in together reach the model in any order.
    assert (sorted(calls(private_folder, "ears")), len(calls(private_folder, "editor"))) == (_LINES, made["total_pieces"])
    told = [entry.progress for entry in seen if entry.progress]
    assert list(dict.fromkeys(progress.stage for progress in told)) == ["transcribing", "correcting"]
    for stage in ("transcribing", "correcting"):
        far = [progress.done for progress in told if progress.stage == stage]
        assert (far, len(set(far)) > 3, far[-1]) == (sorted(far), True, round(len(_LINES) * STRETCH_S))
    assert {(progress.unit, progress.total) for progress in told[-4:]} == {("seconds", round(len(_LINES) * STRETCH_S))}
    heard = json.loads(store.output(f"{job.id}.0").content)
    assert (heard["text"], heard["language"], heard["language_code"]) == (text, "english", "en")


def test_a_piece_that_the_model_spoils_stays_as_it_was_heard_and_says_why(
    settings: Settings, store: JobStore, worker: WorkerProcess
) -> None:
    words = ["", "refuse", "wander", "hesitate"]
    said = "on that day nobody went out because it rained for hours and teh river rose until it came up to teh houses near its bank."
    lines = [f"{word} {said}".strip() for word in words]
    worker.start()
    made = output(store, done(settings, store, transcript(store, lines)))
    assert [piece["kept_raw"] for piece in made["pieces"]] == [None, "failed", "looped", None]
    assert [piece["corrected"] is None for piece in made["pieces"]] == [False, True, True, False]
    assert (made["corrected_pieces"], made["total_pieces"], made["uncertain_words"]) == (2, 4, ["hesitate"])
    assert lines[1] in made["corrected"]
    assert "【?hesitate】" in made["corrected"]
    assert made["warnings"] == ["2 of 4 pieces are as they were heard: 1 failed, 1 looped."]
    assert made["heard_warnings"] == []


def test_without_a_correction_the_text_is_there_and_nothing_poses_as_corrected(
    settings: Settings, store: JobStore, private_folder: Path, worker: WorkerProcess
) -> None:
    worker.start()
    for request in ({"stages": ["transcribe"]}, {"correction_model": None}, {"correction_model": ""}):
        made = output(store, done(settings, store, transcript(store, _LINES[:1], **request)))
        assert (made["text"], made["corrected"], made["pieces"], made["correction_model"]) == (_LINES[0], None, [], None)
    made = output(store, done(settings, store, transcript(store, [""])))
    assert (made["text"], made["corrected"], made["total_pieces"]) == ("", "", 0)
    assert made["warnings"] == made["heard_warnings"] == ["Nobody speaks in this recording, as far as the model hears."]
    assert calls(private_folder, "editor") == []


def test_what_cannot_be_heard_fails_with_the_reason_of_its_part(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    worker.start()
    new = transcript(store, ["All is well.", "deaf"])
    job = done(settings, store, new)
    assert job.error is not None
    assert (job.state, job.error.code) == (JobState.FAILED, "engine_error")
    assert job.error.message == f"Part 2 of 2 ({job.id}.0.1) failed: This chunk was to fail."
    assert [child.id for child in Chains(store).children(job.id)] == [f"{job.id}.0"]


def test_when_nothing_can_be_corrected_the_job_fails_and_what_was_heard_can_be_read(
    settings: Settings, store: JobStore, private_folder: Path, worker: WorkerProcess
) -> None:
    (private_folder / "editor" / "broken").touch()
    worker.start()
    job = done(settings, store, transcript(store, _LINES[:3]))
    assert job.error is not None
    assert (job.state, job.error.code) == (JobState.FAILED, "model_load_failed")
    assert f"as it was heard it is the output of {job.id}.0. " in job.error.message
    heard = json.loads(store.output(f"{job.id}.0").content)
    assert (heard["text"], heard["language"]) == ("\n\n".join(_LINES[:3]), "english")


def test_kills_at_any_moment_cost_no_part_that_was_done(
    settings: Settings, store: JobStore, private_folder: Path, worker: WorkerProcess
) -> None:
    new = transcript(store, _LINES)
    kills = {("transcribing", 0), ("transcribing", 3 * STRETCH_S), ("transcribing", 6 * STRETCH_S), ("correcting", 0)}
    killed: set[str] = set()

    def see(entry: StreamEntry) -> None:
        if entry.progress is None:
            return
        stage, far = str(entry.progress.stage), entry.progress.done
        due = {kill for kill in kills if kill[0] == stage and far >= kill[1]}
        if due or (stage == "correcting" and far > 0 and "half" not in killed):
            kills.difference_update(due)
            killed.add("half" if stage == "correcting" and far else stage)
            worker.kill()

    worker.start()
    made = output(store, done(settings, store, new, see))
    assert worker.starts >= 4
    assert killed == {"transcribing", "correcting", "half"}
    assert made["text"] == "\n\n".join(_LINES)
    assert made["corrected_pieces"] == made["total_pieces"]
    family = [new.id, *(child.id for child in Chains(store).children(new.id)), *(f"{new.id}.0.{n}" for n in range(len(_LINES)))]
    for job_id in family:
        assert store.client.hget(keys.job(job_id), "commits") == "1", job_id
        assert int(str(store.client.hget(keys.job(job_id), "charges"))) < 3, job_id
    # A part is asked for anew only where the kill hit it: at most all that were under way, each time.
    again = Counter(calls(private_folder, "ears"))
    assert set(again) == set(_LINES)
    assert sum(again.values()) <= len(_LINES) + 4 * (worker.starts - 1)


def test_twenty_recordings_at_once_swap_models_once(settings: Settings, store: JobStore, private_folder: Path) -> None:
    """Only one of the two models fits: all is heard, then all is corrected."""
    chosen = settings.model_copy(update={"catalog": catalog(private_folder, "9GB"), "memory_budget": ByteSize(10 * 10**9)})
    process = WorkerProcess(chosen)
    many = [transcript(store, _LINES[n % 3 : n % 3 + 3], seed=n) for n in range(20)]

    async def scenario(gateway: JobGateway) -> None:
        await asyncio.gather(*(gateway.submit(new) for new in many))
        assert set(await everything(gateway, many)) == {JobState.SUCCEEDED}

    process.start()
    try:
        run(settings, scenario)
        loads = process.said("model.loaded")
    finally:
        assert process.stop() == 0
    assert loads[:2] == ["ears", "editor"]
    assert len(loads) <= 3
    assert len(calls(private_folder, "ears")) == 60


def test_cancelling_a_transcript_stops_both_generations_of_its_children(
    settings: Settings, store: JobStore, private_folder: Path, worker: WorkerProcess
) -> None:
    new = transcript(store, _LINES)
    (private_folder / "ears" / "hold").touch()

    async def scenario(gateway: JobGateway) -> None:
        await gateway.submit(new)
        await until(lambda: store.client.hget(keys.job(f"{new.id}.0.0"), "state") == "running")
        await gateway.cancel(new.id)

    worker.start()
    run(settings, scenario)
    (private_folder / "ears" / "hold").unlink()
    chunks = Chains(store).children(f"{new.id}.0")
    assert {store.get(new.id).state, store.get(f"{new.id}.0").state, *(chunk.state for chunk in chunks)} == {JobState.CANCELED}
    assert output(store, done(settings, store, transcript(store, _LINES[:2])))["corrected_pieces"] > 0
