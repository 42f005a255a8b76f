"""An API and a real worker with tiny models of Qwen3-TTS in each of its forms: fixtures for the modules that import them."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.jobs.record import JobState
from app.settings import Settings, load_settings
from tests.conftest import RedisServer
from tests.integration.conftest import Api, running
from tests.integration.worker_process import WorkerProcess

__all__ = ["SHORT", "Stack", "home", "stack"]

SHORT = "Hello there. This is a test of speech."


class Stack:
    """A running API and its worker."""

    def __init__(self, settings: Settings, api: Api, worker: WorkerProcess) -> None:
        self.settings = settings.model_copy(update={"port": api.port})
        self.api = api
        self.worker = worker

    def say(self, text: str = SHORT, *, model: str = "tts", form: str = "wav", **more: Any) -> bytes:  # noqa: ANN401
        """Return the sound of *text*, the same each time."""
        fields = {"voice": "alloy", "seed": 3, **more}
        known = {name: fields.pop(name) for name in ("voice", "speed", "instructions") if name in fields}
        answer = self.api.openai.audio.speech.create(model=model, input=text, response_format=form, extra_body=fields, **known)  # type: ignore[arg-type]
        return bytes(answer.content)

    def state(self, job_id: str) -> dict[str, Any]:
        return dict(self.api.http.get(f"/v1/jobs/{job_id}").raise_for_status().json())

    def end(self, job_id: str) -> JobState:
        """Follow a job to its end and return how it ended."""
        with self.api.http.stream("GET", f"/v1/jobs/{job_id}/events") as events:
            told = [json.loads(line.removeprefix("data:")) for line in events.iter_lines() if line.startswith("data:")]
        return JobState(told[-1]["state"])


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="mlx-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def stack(home: Path, tiny_model: Callable[[str], Path]) -> Iterator[Stack]:
    folders = {
        name: tiny_model(f"{kind}-f32")
        for name, kind in [("voice", "qwen3_tts"), ("designer", "qwen3_tts_design"), ("cloner", "qwen3_tts_base")]
    }
    folders["small"] = home / "small"
    shutil.copytree(folders["voice"], folders["small"])
    config = json.loads((folders["small"] / "config.json").read_text())
    (folders["small"] / "config.json").write_text(json.dumps(config | {"tts_model_size": "0b6"}))
    entries = [f'[[model]]\nid = "{name}"\nrepo = "{folder}"\ntasks = ["tts"]\n' for name, folder in folders.items()]
    (home / "catalog.toml").write_text("".join(entries) + '[roles]\ntts = "voice"\n')
    (home / "redis").mkdir()
    redis = RedisServer(home / "redis")
    redis.start()
    settings = load_settings(home=home / "home", redis_url=redis.url, profile="starter", min_free_disk=0, catalog=home / "catalog.toml")
    settings.home.mkdir()
    worker = WorkerProcess(settings)
    worker.start()
    with running(settings) as api:
        yield Stack(settings, api, worker)
    assert worker.stop() == 0
    redis.kill()
