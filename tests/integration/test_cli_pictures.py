"""``mlx-local caption`` and ``chat --image`` against the real API, with a worker that sees what the test says."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from PIL import Image

from app.settings import Settings
from tests.integration.command import mlx_local
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker

_COLOURS = {"a.png": "red", "b.jpg": "green", "c.webp": "blue"}


@pytest.fixture
def client_settings(api_settings: Settings, start_api: Callable[..., Api]) -> Settings:
    """Settings that lead the command to a running API with a model that sees."""
    catalog = api_settings.home / "catalog.toml"
    catalog.write_text(catalog.read_text().replace('tasks = ["chat"]', 'tasks = ["chat", "vision"]', 1))
    return api_settings.model_copy(update={"port": start_api(api_settings).port})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of one colour each, and what is no picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in _COLOURS.items():
        Image.new("RGB", (8, 8), colour).save(folder / name)
    (folder / "notes.md").write_text("no picture")
    return folder


def see(worker: FakeWorker, count: int) -> Iterator[str]:
    """Answer *count* requests with the colour that each shows, and yield what was asked."""
    for _ in range(count):
        job = worker.claim()
        (blob,) = job.blobs
        red, green, blue = Image.open(io.BytesIO(worker.store.spool.get(blob))).convert("RGB").getpixel((4, 4))  # type: ignore[misc]
        worker.finish_chat(job, f"It is\n{max((red, 'red'), (green, 'green'), (blue, 'blue'))[1]}.")
        yield str(job.request["messages"][0]["content"][1]["text"])


Call = Callable[..., "Future[CompletedProcess[str]]"]


@pytest.fixture
def call(client_settings: Settings, background: ThreadPoolExecutor) -> Call:
    return lambda *words: background.submit(mlx_local, client_settings, *words)


def test_every_picture_of_a_folder_is_described(call: Call, worker: FakeWorker, folder: Path) -> None:
    running = call("caption", str(folder), "-p", "Which colour?")
    assert set(see(worker, 3)) == {"Which colour?"}
    done = running.result()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{folder / name}\tIt is {colour}." for name, colour in _COLOURS.items()]


def test_captions_are_written_beside_their_pictures_once(call: Call, worker: FakeWorker, folder: Path) -> None:
    (folder / "b.txt").write_text("mine")
    running = call("caption", str(folder), "--beside", "--json")
    assert len(list(see(worker, 2))) == 2
    told = [json.loads(line) for line in running.result().stdout.splitlines()]
    assert told == [{"file": str(folder / name), "caption": f"It is {_COLOURS[name]}."} for name in ("a.png", "c.webp")]
    assert [(folder / f"{name}.txt").read_text() for name in "abc"] == ["It is red.\n", "mine", "It is blue.\n"]
    assert call("caption", str(folder), "--beside").result().returncode == 0  # all are there


def test_one_that_is_no_picture_keeps_none_from_being_described(call: Call, worker: FakeWorker, folder: Path) -> None:
    (folder / "b.jpg").write_text("no picture either")
    running = call("caption", str(folder))
    assert len(list(see(worker, 2))) == 2
    done = running.result()
    assert done.returncode == 1
    assert f"{folder / 'b.jpg'}: " in done.stderr
    assert done.stdout.count("\n") == 2


def test_what_is_wrong_with_all_pictures_is_said_once(
    api_settings: Settings, start_api: Callable[..., Api], background: ThreadPoolExecutor, folder: Path
) -> None:
    blind = api_settings.model_copy(update={"port": start_api(api_settings).port})
    done = background.submit(mlx_local, blind, "caption", str(folder)).result()
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr


@pytest.mark.parametrize("words", [("nowhere",), ("empty",), ("pictures/a.png", "other/a.txt", "pictures/a.jpg", "--beside")])
def test_wrong_usage_is_code_2(settings: Settings, tmp_path: Path, folder: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "empty").mkdir()
    (folder / "a.jpg").write_bytes(b"")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_bytes(b"")
    done = mlx_local(settings, "caption", *(word if word.startswith("-") else str(tmp_path / word) for word in words))
    assert done.returncode == 2
    assert done.stderr


def test_a_chat_is_shown_pictures(call: Call, worker: FakeWorker, folder: Path) -> None:
    running = call("chat", "-i", str(folder / "a.png"), "What", "is", "it?")
    assert list(see(worker, 1)) == ["What is it?"]
    assert running.result().stdout == ""  # a job that ends without a published piece has nothing to print
    assert call("chat", "-i", str(folder / "nowhere.png"), "What?").result().returncode == 2
