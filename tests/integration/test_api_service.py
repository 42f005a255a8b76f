"""Embeddings, models, health, access, and the process itself."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from pydantic import SecretStr

from app.jobs.decoding import ModelState
from app.jobs.record import JobState
from app.settings import Settings
from tests.conftest import RedisServer
from tests.integration.api_process import Process
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker

CHAT = {"messages": [{"role": "user", "content": "a secret of mine"}]}


def test_embeddings_arrive_as_floats_and_as_base64(api: Api, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    # Unasked, the official client wants base64 and decodes it.
    formats: list[Any] = [openai.omit, "float", "base64"]
    for encoding_format in formats:
        create = api.openai.embeddings.create
        call = background.submit(create, model="tiny-embed", input=["a", "b"], dimensions=7, encoding_format=encoding_format)
        job = worker.claim()
        assert job.request["dimensions"] == 7
        worker.finish_embedding(job)
        answer = call.result()
        assert answer.model == "tiny-embed"
        assert [row.index for row in answer.data] == [0, 1]
        if encoding_format == "base64":
            assert isinstance(answer.data[0].embedding, str)
        else:
            assert [row.embedding for row in answer.data] == [[0.0, 7.0], [1.0, 7.0]]


def test_models_are_listed_with_what_a_local_user_wants_to_know(api: Api, worker: FakeWorker) -> None:
    models = {model.id: model.model_dump() for model in api.openai.models.list()}
    chat, far = models["tiny-chat"], models["far-away"]
    assert chat.items() >= {"object": "model", "tasks": ["chat"], "roles": ["chat"], "state": "downloaded", "downloaded": True}.items()
    assert far.items() >= {"state": "not_downloaded", "downloaded": False, "resident": False, "created": 0, "owned_by": "nobody"}.items()
    assert chat["created"] > 1_700_000_000
    worker.appear(tiny_chat=ModelState(state="resident", bytes=123))
    assert api.http.get("/v1/models/tiny-chat").json() | {"state": "resident", "resident": True, "bytes": 123} == (
        api.http.get("/v1/models/tiny-chat").json()
    )


def test_a_model_is_found_by_every_name_it_has(api: Api) -> None:
    for name in ("tiny-chat", "TINY-CHAT", "little", "chat"):
        assert api.openai.models.retrieve(name).id == "tiny-chat"
    assert api.http.get("/v1/models/nobody/far-away-4bit").json()["id"] == "far-away"
    with pytest.raises(openai.NotFoundError, match="tiny-chat"):
        api.openai.models.retrieve("tiny-chad")


def test_ready_says_what_is_missing(api: Api, worker: FakeWorker, api_settings: Settings, redis_server: RedisServer) -> None:
    def missing() -> list[str]:
        response = api.http.get("/ready")
        assert response.status_code == (503 if "missing" in response.json() else 200)
        found: list[str] = response.json().get("missing", [])
        return found

    assert missing() == ["no_worker"]
    worker.appear()
    assert missing() == []
    weights = api_settings.home / "tiny-chat" / "model.safetensors"
    weights.unlink()
    assert missing() == ["model_not_downloaded"]
    weights.touch()
    worker.leave()
    redis_server.kill()
    assert missing() == ["store_unavailable"]
    assert api.http.get("/health").json()["status"] == "ok"


def test_without_redis_a_request_is_503_and_with_it_again_answered(
    api: Api, worker: FakeWorker, redis_server: RedisServer, background: ThreadPoolExecutor
) -> None:
    redis_server.kill()
    calls = [background.submit(api.http.post, "/v1/chat/completions", json=CHAT)]
    calls += [background.submit(api.http.get, path) for path in ("/v1/jobs", "/v1/jobs/job_x/events", "/v1/models")]
    refused, listing, events, models = (call.result() for call in calls)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
    assert refused.headers["retry-after"]
    assert "x-should-retry" not in refused.headers
    assert listing.json()["code"] == events.json()["code"] == "store_unavailable"
    assert models.status_code == 200
    redis_server.start()
    assert api.http.get("/v1/jobs").json()["data"] == []
    call = background.submit(api.http.post, "/v1/chat/completions", json=CHAT)
    worker.finish_chat(worker.claim(), "Hi")
    assert call.result().status_code == 200


def test_a_full_queue_is_503_with_the_time_to_try_again(api_settings: Settings, start_api: Callable[..., Api]) -> None:
    api = start_api(api_settings.model_copy(update={"max_queued": 1}))
    assert api.http.post("/v1/jobs", json={"kind": "chat", "request": CHAT}).status_code == 202
    with pytest.raises(openai.InternalServerError) as full:
        api.openai.chat.completions.create(model="chat", messages=[{"role": "user", "content": "x"}])
    assert (full.value.status_code, full.value.code) == (503, "queue_full")
    assert int(full.value.response.headers["retry-after"]) > 0


def test_with_a_key_everything_but_health_needs_it(api_settings: Settings, start_api: Callable[..., Api]) -> None:
    api = start_api(api_settings.model_copy(update={"api_key": SecretStr("sesame")}))
    assert api.openai.models.list().data
    assert api.http.get("/v1/jobs").status_code == 200
    with httpx.Client(base_url=api.http.base_url, trust_env=False) as stranger:
        assert stranger.get("/health").status_code == 200
        for path in ("/ready", "/v1/models", "/v1/jobs", "/v1/nothing"):
            for given in (None, "sesame", "Bearer", "Bearer wrong", "Bearer sesame2", "Basic sesame"):
                response = stranger.get(path, headers={"Authorization": given} if given else {})
                assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
                assert "sesame" not in response.text
        assert stranger.get("/v1/models", headers={"Authorization": "bearer sesame"}).status_code == 200
    with pytest.raises(openai.AuthenticationError) as refused:
        api.openai.with_options(api_key="wrong").models.list()
    assert refused.value.code == "invalid_api_key"


def test_on_loopback_only_local_names_and_pages_are_served(api: Api) -> None:
    for host in ("localhost", f"localhost:{api.port}", "127.0.0.1", "[::1]:8787", "host.docker.internal:8787", "mac.localhost"):
        assert api.http.get("/v1/models", headers={"Host": host}).status_code == 200, host
    for host in ("evil.example", "localhost.evil.example:8787", "127.0.0.1.nip.io", "[::1", ""):
        response = api.http.get("/v1/models", headers={"Host": host})
        assert response.status_code == 403, host
        assert response.json()["error"]["code"] == "foreign_host"
    for origin in ("https://evil.example", "null", "http://localhost.evil.example"):
        assert api.http.post("/v1/embeddings", json={"input": "x"}, headers={"Origin": origin}).status_code == 403, origin
    for origin in ("http://localhost:3000", "http://127.0.0.1:8787", "tauri://localhost", "app://obsidian.md"):
        assert api.http.get("/v1/models", headers={"Origin": origin}).status_code == 200, origin


def test_both_processes_share_jobs(api: Api, api_settings: Settings, start_api: Callable[..., Api]) -> None:
    other = start_api(api_settings)
    job_id = api.http.post("/v1/jobs", json={"kind": "chat", "request": CHAT}).json()["id"]
    assert other.http.get(f"/v1/jobs/{job_id}").json()["state"] == "queued"


def until(condition: Callable[[], bool]) -> None:
    """Ask again until it is so; a signal sends no answer that one could wait for."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline


@pytest.fixture
def process(api_settings: Settings) -> Iterator[Process]:
    """A running API process."""
    started = Process(api_settings)
    assert started.http.get("/health").status_code == 200
    yield started
    started.close()


def test_a_stopping_process_ends_streams_and_calls_and_their_jobs_go_on(
    process: Process, worker: FakeWorker, background: ThreadPoolExecutor
) -> None:
    whole = background.submit(process.http.post, "/v1/chat/completions", json=CHAT)
    first = worker.claim()
    streamed = background.submit(process.http.post, "/v1/chat/completions", json={**CHAT, "stream": True})
    second = worker.claim()
    worker.say(second, "Once")
    events = background.submit(process.http.get, f"/v1/jobs/{first.id}/events")
    process.child.send_signal(signal.SIGTERM)
    assert (whole.result().status_code, whole.result().json()["error"]["code"]) == (503, "server_stopping")
    assert whole.result().headers["x-job-id"] == first.id
    frames = [line for line in streamed.result().text.splitlines() if line.startswith("data: ")]
    assert json.loads(frames[-1].removeprefix("data: "))["error"]["code"] == "server_stopping"
    assert "server_stopping" in events.result().text
    assert process.child.wait(30) == 0
    for job in (first, second):
        assert worker.say(job, "still wanted") == []
        assert worker.finish_chat(job, "still wanted")
        assert worker.store.get(job.id).state is JobState.SUCCEEDED


def test_a_stopping_process_lets_answers_that_come_soon_arrive(
    process: Process, worker: FakeWorker, background: ThreadPoolExecutor
) -> None:
    call = background.submit(process.http.post, "/v1/chat/completions", json=CHAT)
    job = worker.claim()
    process.child.send_signal(signal.SIGINT)
    worker.finish_chat(job, "in time")
    assert call.result().json()["choices"][0]["message"]["content"] == "in time"
    assert process.child.wait(30) == 0


def test_a_job_outlives_an_api_that_is_killed_between_submit_and_poll(
    process: Process, api_settings: Settings, worker: FakeWorker, start_api: Callable[..., Api]
) -> None:
    job_id = process.http.post("/v1/jobs", json={"kind": "chat", "request": CHAT}).json()["id"]
    process.child.kill()
    worker.finish_chat(worker.claim(), "Hi")
    assert start_api(api_settings).http.get(f"/v1/jobs/{job_id}").json()["output"]["choices"][0]["message"]["content"] == "Hi"


def test_the_log_has_a_line_for_each_request_and_nothing_of_its_content(process: Process, worker: FakeWorker) -> None:
    headers = {"Authorization": "Bearer k3y"}
    response = process.http.post("/v1/jobs?note=confidential", json={"kind": "chat", "request": CHAT}, headers=headers)
    process.http.post("/v1/chat/completions", content=b'{"messages": "a secret of mine"}')
    process.child.send_signal(signal.SIGTERM)
    process.child.wait(30)
    text = process.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    accepted, refused = (line for line in lines if line["event"] == "http.request")
    assert (accepted["method"], accepted["path"], accepted["status"]) == ("POST", "/v1/jobs", 202)
    assert (accepted["job"], accepted["request_id"]) == (response.json()["id"], response.headers["x-request-id"])
    assert refused["status"] == 400
    assert all({"timestamp", "level", "event"} <= line.keys() for line in lines)
    for private in ("secret", "confidential", "k3y"):
        assert private not in text


def test_a_new_catalog_is_read_on_sighup_and_a_wrong_one_is_not(process: Process, api_settings: Settings) -> None:
    assert api_settings.catalog is not None
    good = api_settings.catalog.read_text()
    api_settings.catalog.write_text(good.replace('id = "far-away"', 'id = "very-far"'))
    process.child.send_signal(signal.SIGHUP)
    until(lambda: process.http.get("/v1/models/very-far").status_code == 200)
    api_settings.catalog.write_text("nonsense")
    process.child.send_signal(signal.SIGHUP)
    until(lambda: "catalog.invalid" in process.log.read_text())
    assert process.http.get("/v1/models/very-far").status_code == 200


def test_a_wrong_catalog_and_a_taken_port_stop_the_start(api_settings: Settings, tmp_path: Path) -> None:
    wrong = Process(api_settings, MLX_LOCAL_CATALOG=str(tmp_path / "none.toml"))
    assert wrong.child.wait(30) == 2
    assert wrong.child.stderr is not None
    assert wrong.child.stderr.read().count("\n") == 1
    wrong.close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        second = Process(api_settings, MLX_LOCAL_PORT=str(taken.getsockname()[1]))
        assert second.child.wait(30) != 0
        second.close()
    assert "address already in use" in (api_settings.logs_dir / "server.log").read_text()


def test_the_process_loads_nothing_heavy() -> None:
    heavy = "{'mlx', 'numpy', 'transformers', 'openai', 'huggingface_hub', 'app.engines', 'app.scheduler', 'app.actors'}"
    program = f"import sys, app.api.main; print(*({heavy} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert loaded.stdout.split() == []
