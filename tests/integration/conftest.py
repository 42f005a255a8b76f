"""The real application on a real port, over a real Redis, with a fake worker behind it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import openai
import pytest

from app.api.application import create_app
from app.api.main import ApiServer
from app.api.services import Pace
from app.settings import Settings
from tests.hub_server import HubServer
from tests.integration.fake_worker import FakeWorker

_CATALOG = """
[[model]]
id = "tiny-chat"
repo = "./tiny-chat"
tasks = ["chat"]
aliases = ["little"]

[[model]]
id = "tiny-embed"
repo = "./tiny-embed"
tasks = ["embedding"]

[[model]]
id = "far-away"
repo = "nobody/far-away-4bit"
tasks = ["chat"]

[roles]
chat = "tiny-chat"
embedding = "tiny-embed"
"""


class Api:
    """A running API and clients for it."""

    def __init__(self, port: int, key: str | None) -> None:
        self.port = port
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60, trust_env=False)
        self.openai = openai.OpenAI(
            base_url=f"http://127.0.0.1:{port}/v1",
            api_key=key or "none",
            max_retries=0,
            http_client=openai.DefaultHttpxClient(timeout=60, trust_env=False),
        )

    def close(self) -> None:
        self.openai.close()
        self.http.close()


@contextmanager
def running(settings: Settings, pace: Pace | None = None) -> Iterator[Api]:
    """Serve on a free port until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = ApiServer(create_app(settings, pace=pace), settings, listener.getsockname()[1])
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="api-under-test")
        thread.start()
        api = Api(listener.getsockname()[1], settings.api_key.get_secret_value() if settings.api_key else None)
        try:
            yield api
        finally:
            api.close()
            server.should_exit = True
            thread.join()


@pytest.fixture
def api_settings(settings: Settings) -> Settings:
    """Settings with two models on disk, one that is not, and roles."""
    for name in ("tiny-chat", "tiny-embed"):
        folder = settings.home / name
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").touch()
    catalog = settings.home / "catalog.toml"
    catalog.write_text(_CATALOG)
    return settings.model_copy(update={"catalog": catalog})


@pytest.fixture
def hearing_settings(api_settings: Settings) -> Settings:
    """The same, with a model that hears."""
    folder = api_settings.home / "tiny-ears"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()
    catalog = api_settings.home / "catalog.toml"
    catalog.write_text('[[model]]\nid = "tiny-ears"\nrepo = "./tiny-ears"\ntasks = ["asr"]\n' + _CATALOG + 'asr = "tiny-ears"\n')
    return api_settings


@pytest.fixture
def reading_settings(api_settings: Settings) -> Settings:
    """The same as the first ones, with a model that reads."""
    folder = api_settings.home / "tiny-eyes"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()
    catalog = api_settings.home / "catalog.toml"
    catalog.write_text('[[model]]\nid = "tiny-eyes"\nrepo = "./tiny-eyes"\ntasks = ["ocr"]\n' + _CATALOG + 'ocr = "tiny-eyes"\n')
    return api_settings


@pytest.fixture
def start_api() -> Iterator[Callable[..., Api]]:
    """Start APIs that stop when the test ends."""
    with ExitStack() as stack:

        def start(settings: Settings, pace: Pace | None = None) -> Api:
            return stack.enter_context(running(settings, pace))

        yield start


@pytest.fixture
def api(api_settings: Settings, start_api: Callable[..., Api]) -> Api:
    """A running API."""
    return start_api(api_settings)


@pytest.fixture
def worker(api_settings: Settings) -> Iterator[FakeWorker]:
    """A worker that does what the test tells it."""
    fake = FakeWorker(api_settings)
    yield fake
    fake.close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub without models, which this process and its children ask, and an empty cache."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    """Threads for calls that block until the test's worker has done its part."""
    threads = ThreadPoolExecutor(16)
    yield threads
    # Not waited for: after a failed test a stream would go on until its API stops, which is torn down later.
    threads.shutdown(wait=False, cancel_futures=True)
