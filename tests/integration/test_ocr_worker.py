"""Documents in a real worker process: pages in order, and kills that cost no page that was read."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from app.jobs import keys
from app.jobs.chains import Chains
from app.jobs.gateway import JobGateway
from app.jobs.record import Job, JobKind, JobState, Lane, new_job_id
from app.jobs.store import JobStore
from app.jobs.streams import StreamEntry
from app.jobs.submission import NewJob
from app.settings import Settings
from tests.documents import BROKEN, barred, pdf, scanned
from tests.integration.test_worker_crashes import answer
from tests.integration.worker_process import WorkerProcess, scripted_catalog

_LENGTHS = [n % 29 + 1 for n in range(30)]


@pytest.fixture
def worker(settings: Settings, private_folder: Path) -> Iterator[WorkerProcess]:
    """A worker with a model that reads, not started yet."""
    process = WorkerProcess(settings.model_copy(update={"catalog": scripted_catalog(private_folder, "chat", "ocr")}))
    yield process
    if process.starts:
        assert process.stop() == 0


def read(store: JobStore, document: bytes, **request: str) -> NewJob:
    """Keep a document and return the job that is to read it."""
    job_id = new_job_id()
    blob = store.spool.put(document, holder=job_id)
    return NewJob(id=job_id, kind=JobKind.OCR, model="scripted", lane=Lane.BATCH, request=request, waited=False, blobs=(blob,))


def done(settings: Settings, store: JobStore, new: NewJob, see: Callable[[StreamEntry], object] = lambda _: None) -> Job:
    """Submit a job, follow it to its end and return it."""

    async def main() -> None:
        gateway = await JobGateway.open(settings)
        try:
            await gateway.submit(new)
            async for entry in gateway.follow(new.id):
                see(entry)
        finally:
            await gateway.close()

    asyncio.run(main())
    return store.get(new.id)


def test_thirty_pages_are_read_in_order_and_counted(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    new = read(store, barred(_LENGTHS))
    seen: list[StreamEntry] = []
    worker.start()
    job = done(settings, store, new, seen.append)
    assert job.state is JobState.SUCCEEDED, job.error
    texts = [answer(length).strip() for length in _LENGTHS]
    assert [(page["page"], page["text"]) for page in job.output["pages"]] == list(enumerate(texts, 1))
    assert job.output["text"] == job.output["markdown"] == "\n\n".join(texts)
    assert (job.output["object"], job.output["model"]) == ("ocr", "scripted")
    assert job.usage is not None
    assert job.usage == job.output["usage"]
    assert (job.usage["pages"], job.usage["completion_tokens"]) == (30, sum(_LENGTHS))
    assert job.progress is not None
    assert (job.progress.done, job.progress.total, job.progress.unit) == (30, 30, "pages")
    told = [entry.progress.done for entry in seen if entry.progress]
    assert told == sorted(told)
    assert len(set(told)) > 10
    assert [link for link in store.spool.holders() if link != new.id] == []  # no drawn page is left


def test_a_kill_half_way_costs_no_page_that_was_read(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    new = read(store, barred(_LENGTHS))
    ended: list[int] = []
    before_kill: dict[int, bytes | None] = {}

    def see(entry: StreamEntry) -> None:
        if entry.child is None or entry.child.state is not JobState.SUCCEEDED:
            return
        ended.append(entry.child.number)
        if len(ended) == 15:
            worker.kill()
            children = Chains(store).children(new.id)
            before_kill.update({child.number: child.output for child in children if child.state is JobState.SUCCEEDED})

    worker.start()
    job = done(settings, store, new, see)
    assert job.state is JobState.SUCCEEDED, job.error
    assert [page["text"] for page in job.output["pages"]] == [answer(length).strip() for length in _LENGTHS]
    assert worker.starts >= 2
    assert len(before_kill) >= 15
    for child in Chains(store).children(new.id):
        assert store.client.hget(keys.job(child.id), "commits") == "1"
        if child.number in before_kill:
            assert child.output == before_kill[child.number]
            assert store.get(child.id).attempt == 1


def test_pages_that_were_chosen_are_read_alone_under_their_numbers(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    worker.start()
    document = barred([1, 2, 3, 4, 5])
    job = done(settings, store, read(store, document, pages="5,1-2"))
    assert [(page["page"], page["text"]) for page in job.output["pages"]] == [(n, answer(n).strip()) for n in (1, 2, 5)]
    assert job.child_count == 3
    job = done(settings, store, read(store, document, pages="4"))
    assert [(page["page"], page["text"]) for page in job.output["pages"]] == [(4, answer(4).strip())]
    assert job.child_count == 0
    job = done(settings, store, read(store, document, pages="6"))
    assert job.error is not None
    assert (job.error.code, job.error.param) == ("invalid_request", "pages")


def test_a_page_without_anything_is_an_empty_text_and_no_model_is_asked(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    worker.start()
    job = done(settings, store, read(store, barred([2, 0, 3])))
    assert [page["text"] for page in job.output["pages"]] == [answer(2).strip(), "", answer(3).strip()]
    assert job.output["text"] == f"{answer(2).strip()}\n\n{answer(3).strip()}"
    assert job.usage is not None
    assert (job.usage["pages"], job.usage["completion_tokens"]) == (3, 5)
    out = io.BytesIO()
    Image.new("RGB", (300, 200), "beige").save(out, "PNG")
    for nothing in (pdf([""]), out.getvalue()):
        job = done(settings, store, read(store, nothing))
        assert (job.output["text"], job.usage["total_tokens"] if job.usage else None) == ("", 0)


def test_a_picture_is_read_without_children_and_may_be_text_or_markdown(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    picture = Image.new("RGB", (595, 842), "white")
    picture.paste("black", (0, 0, 595, 140))
    out = io.BytesIO()
    picture.save(out, "PNG")
    worker.start()
    for form, media_type in (("text", "text/plain; charset=utf-8"), ("markdown", "text/markdown; charset=utf-8")):
        new = read(store, out.getvalue(), response_format=form)
        job = done(settings, store, new)
        assert (job.state, job.child_count) == (JobState.SUCCEEDED, 0), job.error
        made = store.output(new.id)
        assert (made.content.decode(), made.media_type) == (answer(7).strip() + "\n", media_type)
        assert list(store.spool.holders()).count(new.id) == 2  # the picture, which is the caller's, and the output


def test_what_is_left_out_of_a_page_is_said_with_it(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    page, out = Image.new("RGB", (595, 842), "white"), io.BytesIO()
    page.paste("black", (0, 0, 595, 140))
    page.save(out, "GIF", save_all=True, append_images=[Image.new("RGB", page.size, "red")])
    worker.start()
    job = done(settings, store, read(store, out.getvalue()))
    assert [(page["text"], page["warnings"]) for page in job.output["pages"]] == [
        (answer(7).strip(), ["The picture moves: its first frame alone was read."])
    ]
    job = done(settings, store, read(store, scanned([page, page], broken=b"\xff\xd8\xff")))
    assert [page["warnings"] for page in job.output["pages"]] == [
        [],
        ["Page 2 has a damaged picture in it: what is on it is missing or incomplete."],
    ]


@pytest.mark.parametrize("name", [name for name in BROKEN if name not in {"empty", "text"}])
def test_a_broken_document_fails_its_job_and_nothing_else(settings: Settings, store: JobStore, worker: WorkerProcess, name: str) -> None:
    worker.start()
    job = done(settings, store, read(store, BROKEN[name]))
    assert job.error is not None
    assert (job.error.code, job.error.param) == ("unreadable_document", "file")
    assert worker.starts == 1


def test_a_page_that_the_model_refuses_fails_the_document(settings: Settings, store: JobStore, worker: WorkerProcess) -> None:
    worker.start()
    job = done(settings, store, read(store, barred([1, 2, 3, 4, 5, 6]), prompt="refuse"))
    assert job.error is not None
    assert job.error.code == "engine_error"
