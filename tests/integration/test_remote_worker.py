"""A worker of another machine does what has pictures, sound and pages: it has a home of its own, and what it reads comes by HTTP.

Its clock is an hour ahead. The models are tiny: what they say means nothing, and is the same each time.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.jobs import keys
from app.jobs.connection import connect
from app.jobs.record import JobState
from app.jobs.spool import Spool
from app.jobs.store import JobStore
from app.jobs.workers import WorkerInfo
from app.named_keys import NamedKeys, Scope
from app.settings import load_settings
from tests.conftest import RedisServer
from tests.documents import barred
from tests.hasty_worker import AHEAD_S
from tests.integration.conftest import Api, running
from tests.integration.machines import Machine, eventually
from tests.integration.relay import Relay
from tests.integration.test_chat_pictures import png, uri
from tests.integration.test_hearing_worker import wav
from tests.spoken import SENTENCES, silence, spoken

_READER = ("reader", "paddleocr_vl-f32", '["chat", "ocr", "vision"]')
_LISTENER = ("listener", "qwen3_asr-f32", '["asr"]')


class Cluster:
    """An API without a worker in its home, and a worker of another machine."""

    def __init__(self, api: Api, store: JobStore, far: Machine, way_to_api: Relay) -> None:
        self.api = api
        self.store = store
        self.far = far
        self.way_to_api = way_to_api

    def worker_of(self, job_id: str) -> str:
        """Return the home whose worker did a job."""
        return str(self.store.client.hget(keys.job(job_id), "worker")).partition("-")[0]


@pytest.fixture(scope="module")
def cluster(tiny_model: Callable[[str], Path]) -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="mlx-", dir="/tmp"))
    entries = [f'[[model]]\nid = "{name}"\nrepo = "{tiny_model(tiny)}"\ntasks = {tasks}\n' for name, tiny, tasks in (_READER, _LISTENER)]
    (folder / "catalog.toml").write_text("".join(entries) + '[roles]\nchat = "reader"\nocr = "reader"\nasr = "listener"\n')
    (folder / "redis").mkdir()
    redis = RedisServer(folder / "redis")
    redis.start()
    facts = {"home": folder / "home", "redis_url": redis.url, "catalog": folder / "catalog.toml"}
    main = load_settings(**facts, profile="starter", min_free_disk=0, api_key="a-key-of-its-callers")
    main.home.mkdir()
    key = NamedKeys(main.home).create("far", Scope.WORKER)
    with running(main) as api, Relay(api.port) as way_to_api:
        there = {"MLX_LOCAL_API_URL": f"http://127.0.0.1:{way_to_api.port}", "MLX_LOCAL_WORKER_KEY": key}
        far = Machine(main, folder, "far", None, program="tests.hasty_worker", **there)
        client = connect(main)
        far.worker.start()
        yield Cluster(api, JobStore(client, Spool(main.spool_dir)), far, way_to_api)
        far.close()
        client.close()
    redis.kill()
    shutil.rmtree(folder, ignore_errors=True)


def read(cluster: Cluster, document: bytes) -> tuple[str, list[str]]:
    """Return a document's job and the texts of its pages."""
    answer = cluster.api.http.post("/v1/ocr", files={"file": ("a.pdf", document)}, data={"max_tokens": "12"})
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Job-Id"], [page["text"] for page in answer.json()["pages"]]


def test_a_worker_of_another_machine_says_where_it_is_and_that_its_clock_is_off(cluster: Cluster) -> None:
    def look() -> WorkerInfo | None:
        return cluster.far.presence(cluster.store)

    eventually(lambda: (said := look()) is not None and said.clock_offset_s, "it has heard the clock of Redis")
    said = look()
    assert said is not None
    assert said.remote
    assert said.host
    assert said.clock_offset_s == pytest.approx(AHEAD_S, abs=60)


def test_a_picture_in_a_chat_is_seen_there(cluster: Cluster) -> None:
    def ask(number: int) -> tuple[str, str]:
        parts = [{"type": "image_url", "image_url": {"url": uri(png(number))}}, {"type": "text", "text": "What is this?"}]
        body = {"messages": [{"role": "user", "content": parts}], "temperature": 0, "max_tokens": 10}
        answer = cluster.api.http.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        return answer.headers["X-Job-Id"], answer.json()["choices"][0]["message"]["content"]

    (job, first), (_, other), (_, again) = ask(1), ask(2), ask(1)
    assert first == again != other
    assert cluster.worker_of(job) == cluster.far.home_id


def test_a_long_recording_is_decoded_cut_and_heard_there(cluster: Cluster) -> None:
    long = np.concatenate([spoken(SENTENCES[:6], 1.0), silence(5), spoken(SENTENCES[6:], 1.0)])
    answer = cluster.api.http.post("/v1/audio/transcriptions", files={"file": ("a.wav", wav(long))}, data={"seed": "5"})
    assert answer.status_code == 200, answer.text
    job = cluster.store.get(answer.headers["X-Job-Id"])
    assert job.child_count > 1
    for number in range(job.child_count):
        assert cluster.worker_of(keys.child(job.id, number)) == cluster.far.home_id


def test_pages_are_drawn_and_read_there_and_an_api_that_is_away_holds_them_up_alone(cluster: Cluster) -> None:
    document = barred([3, 30, 0, 12])
    _, texts = read(cluster, document)
    assert len(set(texts)) > 1
    other = barred([30, 3, 12])
    cluster.way_to_api.cut()
    cluster.way_to_api.tried.clear()
    with ThreadPoolExecutor(1) as background:
        reading = background.submit(read, cluster, other)
        assert cluster.way_to_api.tried.wait(60)  # it wants the document, and does not get it
        assert cluster.store.count_by_state()[JobState.FAILED] == 0
        cluster.way_to_api.mend()
        job, later = reading.result(120)
    assert later == [texts[1], texts[0], texts[3]]
    assert cluster.worker_of(job) == cluster.far.home_id


def test_it_keeps_no_spool_of_its_own_and_that_of_the_api_keeps_what_its_jobs_hold(cluster: Cluster) -> None:
    parts = [{"type": "image_url", "image_url": {"url": uri(png(9))}}]
    body = {"kind": "chat", "request": {"messages": [{"role": "user", "content": parts}], "max_tokens": 2}}
    answer = cluster.api.http.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    job = answer.json()["id"]
    eventually(lambda: cluster.store.get(job).state is JobState.SUCCEEDED, "it is seen")
    assert job in set(cluster.store.spool.holders())
    assert not list(cluster.far.home.glob("spool/**/*"))
    assert list(cluster.far.home.glob("fetched/*"))
