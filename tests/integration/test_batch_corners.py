"""Batches in rough conditions: files from elsewhere, lines that take their time, answers with any text in them."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from app.api.batches import clerk
from app.jobs import keys
from app.jobs.batch_record import ALL_MODELS
from app.jobs.batches import Batches
from app.jobs.record import Job, JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.settings import Settings
from tests.integration.answering_worker import answering
from tests.integration.batch_files import chat_line, ended, line, results, start, until
from tests.integration.conftest import Api, running
from tests.picture_server import PictureServer


def test_a_file_as_windows_writes_it_is_read(api: Api, api_settings: Settings) -> None:
    content = codecs.BOM_UTF8 + "\r\n".join(json.dumps(chat_line(name)) for name in ("a", "b")).encode()
    with answering(api_settings):
        done = ended(api.openai, start(api.openai, [content.decode()]))
    assert [one["custom_id"] for one in results(api.openai, done.output_file_id)] == ["a", "b"]


def test_what_ends_a_line_in_unicode_ends_none_of_the_results(api: Api, api_settings: Settings) -> None:
    names = ["a\u2028b", "a\u2029b", "a\x85b"]
    with answering(api_settings):
        done = ended(api.openai, start(api.openai, [*map(chat_line, names), *(chat_line(f"{name}!", stream=True) for name in names)]))
    for file_id, wanted in ((done.output_file_id, names), (done.error_file_id, [f"{name}!" for name in names])):
        read = [json.loads(text) for text in api.openai.files.content(str(file_id)).iter_lines()]
        assert [one["custom_id"] for one in read] == wanted


def test_a_batch_is_cancelled_while_its_lines_wait_for_pictures(api_settings: Settings, start_api: Callable[..., Api]) -> None:
    catalog = api_settings.home / "catalog.toml"
    catalog.write_text(catalog.read_text().replace('tasks = ["chat"]', 'tasks = ["chat", "vision"]', 1))
    api = start_api(api_settings.model_copy(update={"private_pictures": True, "picture_timeout": timedelta(seconds=1)}))

    def cancel(server: PictureServer, handler: BaseHTTPRequestHandler) -> None:
        batch = api.openai.batches.list(limit=1).data[0]
        api.openai.batches.cancel(batch.id)
        server.closing.wait()

    with PictureServer({"/a.png": cancel}) as server:
        content: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": server.url("/a.png")}}]
        lines = [line(f"{n}", "/v1/chat/completions", messages=[{"role": "user", "content": content}]) for n in range(200)]
        done = ended(api.openai, start(api.openai, lines), "cancelled")
    told = [one["error"] for one in results(api.openai, done.error_file_id)]
    assert len(told) == 200
    assert told[-1]["code"] == "batch_cancelled"


def test_large_lines_begin_a_few_at_a_time(api: Api, api_settings: Settings, store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clerk, "_MOST_BYTES", 2 * 1024**2)
    store.client.config_set("proto-max-bulk-len", 4 * 1024**2)  # what Redis takes in one piece: 512 MB, if nobody changes it
    lines = [chat_line("largest", "x" * 3 * 1024**2), *(chat_line(f"{n}", "x" * 500_000) for n in range(16))]
    with answering(api_settings):
        done = ended(api.openai, start(api.openai, lines))
    assert len(results(api.openai, done.output_file_id)) == 17


def test_a_batch_whose_file_has_left_the_spool_ends(api_settings: Settings, store: JobStore) -> None:
    with running(api_settings) as api:
        begun = until(api.openai, start(api.openai, [chat_line(f"{n}") for n in range(40)]), "in_progress")
    lost = Batches(store).get(begun.id.replace("batch_", "job_")).input_blob
    store.spool.path(lost).unlink()
    request = {"endpoint": "/v1/chat/completions", "input_file_id": "file-1", "completion_window": "24h"}
    new = NewJob(kind=JobKind.BATCH, model=ALL_MODELS, lane=Lane.BATCH, request=request, waited=False, blobs=(lost,))
    store.submit(new, max_queued=10)
    with running(api_settings) as api:
        counts = ended(api.openai, begun, "cancelled").request_counts
        assert counts is not None
        assert (counts.completed, counts.failed) == (0, 40)
        failed = ended(api.openai, api.openai.batches.retrieve(new.id.replace("job_", "batch_")), "failed")
    assert failed.errors is not None
    assert [error.code for error in failed.errors.data or []] == ["input_file_gone"]
    assert store.count_by_state(children=True) == dict.fromkeys(JobState, 0)


class _Forgetful(JobStore):
    """Somebody forgets the newest job right after it was listed."""

    def list_jobs(self, **facts: Any) -> list[Job]:  # noqa: ANN401 - as what it stands for
        found = super().list_jobs(**facts)
        self.client.delete(keys.job(found[0].id))
        return found


def test_a_list_passes_over_a_batch_that_is_forgotten_meanwhile(store: JobStore) -> None:
    first, second = (NewJob(kind=JobKind.BATCH, model=ALL_MODELS, lane=Lane.BATCH, request={}, waited=False) for _ in range(2))
    for new in (first, second):
        store.submit(new, max_queued=10)
    assert [one.job_id for one in Batches(_Forgetful(store.client, store.spool)).page(limit=10, after=None)] == [first.id]
