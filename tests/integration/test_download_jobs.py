"""A model that is not here is fetched when it is first asked for: once, whoever asks, through every death of the worker."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.jobs import keys
from app.jobs.store import JobStore
from app.settings import Settings
from tests.hub_server import HubServer, Repo, tiny_repo
from tests.integration.command import mlx_local
from tests.integration.conftest import Api
from tests.integration.worker_process import WorkerProcess
from tests.scrapes import scrape

WEIGHTS = random.Random(7).randbytes(8 * 1024**2)  # noqa: S311 - any bytes, but the same ones
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS}
SCRIPTED = {"model": "scripted", "messages": [{"role": "user", "content": "say 3"}]}
_PATIENCE_S = 60.0
_CATALOG = """
[[model]]
id = "scripted"
repo = "org/scripted"
tasks = ["chat"]
engine = "tests.scripted_engine:open_frontend"

[[model]]
id = "tiny"
repo = "org/tiny"
tasks = ["chat"]

[roles]
chat = "scripted"
"""


@pytest.fixture
def stack_settings(settings: Settings, private_folder: Path) -> Settings:
    """Settings with two models of the hub."""
    catalog = private_folder / "catalog.toml"
    catalog.write_text(_CATALOG)
    return settings.model_copy(update={"catalog": catalog})


@pytest.fixture
def worker_process(hub: HubServer, stack_settings: Settings) -> Iterator[WorkerProcess]:
    """A worker that asks the hub."""
    hub.repos["org/scripted"] = Repo(FILES)
    process = WorkerProcess(stack_settings)
    process.start()
    yield process
    assert process.stop() == 0


@pytest.fixture
def stack(worker_process: WorkerProcess, stack_settings: Settings, start_api: Callable[..., Api]) -> Api:
    """An API before that worker."""
    return start_api(stack_settings)


def until(look: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever is looked for
    """Look until there is something to see."""
    deadline = time.monotonic() + _PATIENCE_S
    pause = threading.Event()
    while time.monotonic() < deadline:
        if found := look():
            return found
        pause.wait(0.05)
    message = "it never came"
    raise AssertionError(message)


def ended(api: Api, job_id: str) -> dict[str, Any]:
    """Wait for a job's end."""
    job: dict[str, Any] = until(lambda: (found := api.http.get(f"/v1/jobs/{job_id}").json())["finished_at"] and found)
    return job


def downloads(api: Api) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = api.http.get("/v1/jobs", params={"kind": "download"}).json()["data"]
    return jobs


def submit(api: Api, **body: object) -> dict[str, Any]:
    answer = api.http.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def messages(settings: Settings) -> list[str]:
    """Return the sentences of the worker's log."""
    lines = (settings.logs_dir / "worker.log").read_text().splitlines()
    return [line["message"] for line in map(json.loads, lines) if "message" in line]


def test_the_first_call_of_a_missing_model_fetches_it_and_is_answered(
    stack: Api, hub: HubServer, tiny_model: Callable[[str], Path], stack_settings: Settings
) -> None:
    hub.repos["org/tiny"] = tiny_repo(tiny_model("qwen3-f32"))
    answer = stack.http.post("/v1/chat/completions", json={**SCRIPTED, "model": "tiny", "max_tokens": 3})
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] == 3
    (job,) = downloads(stack)
    output = stack.http.get(f"/v1/jobs/{job['id']}/output").json()
    assert output.items() >= {"model": "tiny", "repo": "org/tiny"}.items()
    assert (Path(output["path"]) / "model.safetensors").is_file()
    assert job["progress"].items() >= {"done": output["bytes"], "total": output["bytes"], "unit": "bytes"}.items()
    assert '"unit":"bytes"' in stack.http.get(f"/v1/jobs/{job['id']}/events").text
    assert until(lambda: scrape(stack.http).value("mlx_local_download_bytes_total", model="tiny")) == output["bytes"]
    said = messages(stack_settings)
    assert said == ["Model not found: org/tiny", "Downloading... (0.0 GB)", "Download complete. Loading model..."]


def test_fifty_calls_at_once_are_one_download(stack: Api, hub: HubServer) -> None:
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: stack.http.post("/v1/chat/completions", json=SCRIPTED), range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(downloads(stack)) == 1
    assert hub.lookups("org/scripted") == 1
    assert hub.sent["model.safetensors"] == len(WEIGHTS)


def test_whoever_waits_sees_how_far_the_download_is_and_hears_of_its_end(stack: Api, hub: HubServer) -> None:
    hub.repos["org/scripted"] = Repo(FILES, sends_at_most=[5 * 1024**2], then="stall")
    waiting = submit(stack, kind="chat", request=SCRIPTED)
    reason = until(
        lambda: (
            (found := stack.http.get(f"/v1/jobs/{waiting['id']}").json()["waiting_for"])
            and "of 0.01 GB" in found["detail"]
            and "MB/s" in found["detail"]
            and found
        )
    )
    assert reason["reason"] == "downloading"
    rate = until(lambda: downloads(stack)[0]["progress"]["rate_per_s"])
    assert rate > 0
    assert stack.http.get("/v1/models/scripted").json()["state"] == "downloading"
    (job,) = downloads(stack)
    assert job["waiting_for"]["reason"] == "downloading"
    # Another way to ask for it joins the one that runs.
    assert submit(stack, kind="download", request={"model": "org/scripted"})["id"] == job["id"]
    stack.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert ended(stack, waiting["id"])["error"]["code"] == "download_canceled"
    # The next call begins anew, where it was.
    hub.repos["org/scripted"] = Repo(FILES)
    sent = hub.sent["model.safetensors"]
    assert stack.http.post("/v1/chat/completions", json=SCRIPTED).status_code == 200
    assert hub.sent["model.safetensors"] - sent < 4 * 1024**2


def test_a_model_is_pulled_and_removed_by_its_address_and_not_removed_while_it_comes(
    stack: Api, hub: HubServer, worker_process: WorkerProcess
) -> None:
    hub.repos["org/scripted"] = Repo(FILES, sends_at_most=[5 * 1024**2], then="stall")
    receipt = stack.http.post("/v1/models/org/scripted/pull")
    assert (receipt.status_code, receipt.json()["kind"], receipt.json()["lane"]) == (202, "download", "interactive")
    assert stack.http.post("/v1/models/scripted/pull").json()["id"] == receipt.json()["id"]
    hub.stalled.wait(_PATIENCE_S)
    refused = stack.http.delete("/v1/models/scripted")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_in_use")
    assert "being downloaded" in refused.text
    worker_process.kill()  # the next one asks anew
    assert ended(stack, receipt.json()["id"])["state"] == "succeeded"

    sizes = stack.http.get("/v1/models/scripted").json()
    assert sizes["disk_bytes"] == sum(map(len, FILES.values()))
    assert stack.http.delete("/v1/models/org/scripted").json()["freed_bytes"] == sizes["disk_bytes"]
    until(lambda: stack.http.get("/v1/models/scripted").json()["state"] == "not_downloaded")
    assert stack.http.post("/v1/chat/completions", json=SCRIPTED).status_code == 200
    assert len(downloads(stack)) == 2


def test_a_model_that_cannot_come_fails_its_callers_with_the_reason(stack: Api, hub: HubServer) -> None:
    answer = stack.http.post("/v1/chat/completions", json={**SCRIPTED, "model": "tiny"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "repo_not_found")
    hub.repos["org/tiny"] = Repo(FILES, token="hf_secret")
    answer = stack.http.post("/v1/chat/completions", json={**SCRIPTED, "model": "tiny"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "repo_gated")
    assert "HF_TOKEN" in answer.json()["error"]["message"]


def test_a_killed_worker_leaves_the_download_to_the_next_one(stack: Api, hub: HubServer, worker_process: WorkerProcess) -> None:
    hub.repos["org/scripted"] = Repo(FILES, sends_at_most=[5 * 1024**2], then="stall")
    waiting = submit(stack, kind="chat", request=SCRIPTED)
    until(lambda: (found := downloads(stack)) and found[0]["progress"] and found[0]["progress"]["done"] > 4 * 1024**2)
    worker_process.kill()
    assert ended(stack, waiting["id"])["state"] == "succeeded"
    (job,) = downloads(stack)
    assert (job["state"], job["attempt"]) == ("succeeded", 2)
    assert hub.sent["model.safetensors"] <= len(WEIGHTS) + 1024**2  # no more than what was on its way was sent twice


def test_a_worker_that_stops_gives_its_download_back(
    hub: HubServer, stack_settings: Settings, start_api: Callable[..., Api], store: JobStore
) -> None:
    hub.repos["org/scripted"] = Repo(FILES, sends_at_most=[5 * 1024**2], then="stall")
    api = start_api(stack_settings)
    first = WorkerProcess(stack_settings.model_copy(update={"drain_timeout": timedelta(minutes=5)}))
    first.start()
    waiting = submit(api, kind="chat", request=SCRIPTED)
    assert hub.stalled.wait(_PATIENCE_S)
    assert first.stop() == 0
    (job,) = downloads(api)
    assert (job["state"], store.client.hget(keys.job(job["id"]), "charges")) == ("queued", "0")
    assert api.http.get(f"/v1/jobs/{waiting['id']}").json()["state"] == "queued"


def test_a_model_of_the_hub_that_no_catalog_lists_is_added(
    stack: Api, hub: HubServer, tiny_model: Callable[[str], Path], stack_settings: Settings
) -> None:
    hub.repos["someone/Fresh-Model"] = tiny_repo(tiny_model("qwen3-f32"))
    assert stack.http.get("/v1/models/Fresh-Model").status_code == 404
    job = submit(stack, kind="download", request={"model": "someone/Fresh-Model"})
    assert ended(stack, job["id"])["output"]["model"] == "Fresh-Model"
    assert stack.http.get("/v1/models/someone/fresh-model").json().items() >= {"id": "Fresh-Model", "tasks": ["chat"]}.items()
    answer = stack.http.post("/v1/chat/completions", json={**SCRIPTED, "model": "fresh-model", "max_tokens": 2})
    assert answer.status_code == 200, answer.text
    # Again: nothing is left to do, and that is no error.
    again = submit(stack, kind="download", request={"model": "fresh-model"})
    assert again["id"] != job["id"]
    assert ended(stack, again["id"])["state"] == "succeeded"
    assert stack_settings.pulled_catalog.read_text().count("[[model]]") == 1


def test_the_command_follows_the_servers_download(stack: Api, hub: HubServer, stack_settings: Settings) -> None:
    served = stack_settings.model_copy(update={"port": stack.port})
    done = mlx_local(served, "models", "pull", "scripted")
    assert (done.returncode, done.stderr) == (0, "")
    assert "scripted: 0.01 of 0.01 GB" in done.stdout
    assert len(downloads(stack)) == 1
    failed = mlx_local(served, "models", "pull", "tiny")
    assert failed.returncode == 1
    assert "has no model 'org/tiny'" in failed.stderr


def test_what_cannot_be_a_download_is_refused_at_once(hub: HubServer, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(model: object) -> tuple[int, str]:
        answer = api.http.post("/v1/jobs", json={"kind": "download", "request": {"model": model}})
        return answer.status_code, answer.json()["code"]

    assert refused("no-such-model") == (404, "model_not_found")
    assert refused("../etc/passwd") == (404, "model_not_found")
    assert refused("tts") == (404, "model_not_found")
    assert refused("tiny-chat") == (400, "invalid_request")
    assert refused(7) == (400, "invalid_request")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert refused("far-away") == (409, "hub_offline")
    answer = api.http.post("/v1/chat/completions", json={**SCRIPTED, "model": "far-away"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_downloaded")
