"""Batches in a real worker process: many models by turns, and kills of everything that cost no line and answer none twice."""

from __future__ import annotations

import base64
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from openai import APIConnectionError, OpenAI
from openai.types import Batch
from pydantic import ByteSize

from app.jobs import keys
from app.jobs.record import JobState
from app.jobs.store import JobStore
from app.settings import Settings
from tests.conftest import RedisServer
from tests.documents import barred
from tests.integration.batch_files import chat_line, ended, line, results, start
from tests.integration.conftest import Api, running
from tests.integration.test_worker_crashes import answer
from tests.integration.worker_process import WorkerProcess

_MODELS = ("one", "two", "three")
_GB = 10**9


@pytest.fixture
def chosen(settings: Settings, private_folder: Path) -> Settings:
    """Settings with three scripted models, of which one fits."""
    entries = []
    for name in _MODELS:
        folder = private_folder / name
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"")
        tasks = '["chat", "ocr"]' if name == "one" else '["chat"]'
        engine = 'engine = "tests.scripted_engine:open_frontend"\nslots = 8\nmemory = "1GB"'
        entries.append(f'[[model]]\nid = "{name}"\nrepo = "{folder}"\ntasks = {tasks}\n{engine}\n')
    catalog = private_folder / "catalog.toml"
    catalog.write_text("".join(entries) + '[roles]\nchat = "one"\nocr = "one"\n')
    return settings.model_copy(update={"catalog": catalog, "memory_budget": ByteSize(1.5 * _GB)})


@pytest.fixture
def hands(chosen: Settings) -> Iterator[WorkerProcess]:
    process = WorkerProcess(chosen)
    process.start()
    yield process
    assert process.stop() == 0


def said(count: int, tokens: int) -> list[dict[str, Any]]:
    """Return requests that go through the models in turn."""
    return [chat_line(f"{n}", f"say {tokens + n % 3}", model=_MODELS[n % 3]) for n in range(count)]


def answered_of(api: Api, batch: Batch) -> int:
    """Return how many lines have ended so far."""
    counts = api.openai.batches.retrieve(batch.id).request_counts
    assert counts is not None
    return counts.completed + counts.failed


def successes(store: JobStore, batch: Batch) -> Counter[str]:
    """Return how often each line's job succeeded, by the log of all moves."""
    job_id = batch.id.replace("batch_", "job_")
    moves = [fields for _, fields in cast("list[tuple[str, dict[str, str]]]", store.client.xrange(keys.EVENTS))]
    return Counter(fields["job"] for fields in moves if fields["state"] == JobState.SUCCEEDED and fields["job"].startswith(f"{job_id}."))


def assert_each_answered_once(store: JobStore, batch: Batch, answers: list[dict[str, Any]], count: int, tokens: int) -> None:
    """See that the first *count* lines, made by :func:`said`, have their own answers, and that no line's job succeeded twice."""
    assert [one["custom_id"] for one in answers] == [f"{n}" for n in range(count)]
    for n, one in enumerate(answers):
        body = one["response"]["body"]
        assert (body["model"], body["choices"][0]["message"]["content"]) == (_MODELS[n % 3], answer(tokens + n % 3))
    found = successes(store, batch)
    assert len(found) >= count
    assert set(found.values()) == {1}


def test_lines_of_three_models_and_documents_survive_a_kill_of_their_worker(
    chosen: Settings, store: JobStore, hands: WorkerProcess
) -> None:
    document = f"data:application/pdf;base64,{base64.b64encode(barred([3, 1, 2])).decode()}"
    pages = [line(f"{n}", "/v1/ocr", document=document, pages=which) for n, which in enumerate(("1-3", "2"))]
    with running(chosen) as api:
        chats = start(api.openai, [*said(150, 5), chat_line("bad", "refuse"), chat_line("three", "say 2", n=3)])
        documents = start(api.openai, pages, endpoint="/v1/ocr")
        while answered_of(api, chats) < 20:
            time.sleep(0.02)
        hands.kill()
        chats, documents = ended(api.openai, chats), ended(api.openai, documents)

        *_, three = answers = results(api.openai, chats.output_file_id)
        assert_each_answered_once(store, chats, answers[:-1], 150, 5)
        assert len(three["response"]["body"]["choices"]) == 3
        (bad,) = results(api.openai, chats.error_file_id)
        assert (bad["custom_id"], bad["response"]["status_code"], bad["response"]["body"]["error"]["code"]) == ("bad", 500, "engine_error")
        read = [one["response"]["body"]["pages"] for one in results(api.openai, documents.output_file_id)]
        assert [[(page["page"], page["text"]) for page in one] for one in read] == [
            [(number, answer(count).strip()) for number, count in ((1, 3), (2, 1), (3, 2))],
            [(2, answer(1).strip())],
        ]
        assert hands.starts == 2
        # One of three models fits: each came once, and what the kill took once more. FIFO would load 150 times.
        assert len(hands.said("model.loaded")) <= 2 * len(_MODELS) + 1 + 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_thousand_lines_survive_a_kill_of_everything_in_turn(
    chosen: Settings, store: JobStore, hands: WorkerProcess, redis_server: RedisServer
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    other = WorkerProcess(chosen, program="app.api.main", MLX_LOCAL_PORT=str(port))
    other.start()
    try:
        with running(chosen) as api:
            batch = start(answering(api, port), said(2000, 5))  # the other process sees to it
            while not (clerk := clerk_of(store, batch)):
                time.sleep(0.05)
            for mark, kill in ((200, hands.kill), (600, other.kill), (1000, redis_server.kill), (1400, hands.kill)):
                while answered_of(api, batch) < mark:
                    time.sleep(0.05)
                kill()
                if kill == redis_server.kill:
                    redis_server.start()
            assert clerk_of(store, batch) != clerk
            done = ended(api.openai, batch)
            assert_each_answered_once(store, done, results(api.openai, done.output_file_id), 2000, 5)
            assert hands.starts == 3
            assert len(hands.said("model.loaded")) <= 2 * len(_MODELS) + 1 + 2
    finally:
        other.stop()


def answering(api: Api, port: int) -> OpenAI:
    """Return a client of the API at *port*, once that answers."""
    client = api.openai.with_options(base_url=f"http://127.0.0.1:{port}/v1")
    while True:
        try:
            client.models.list()
        except APIConnectionError:
            time.sleep(0.05)
        else:
            return client


def clerk_of(store: JobStore, batch: Batch) -> str | None:
    """Return which process sees to a batch."""
    clerk = store.client.hget(keys.job(batch.id.replace("batch_", "job_")), "clerk")
    return str(clerk).partition(":")[0] if clerk else None
