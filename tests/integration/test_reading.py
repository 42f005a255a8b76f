"""Documents through the whole path to a real worker with a tiny PaddleOCR-VL. What it reads means nothing, and is always the same."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from app.settings import load_settings
from tests.conftest import RedisServer
from tests.documents import barred, pdf, tiff
from tests.integration.conftest import Api, running
from tests.integration.worker_process import WorkerProcess


@pytest.fixture(scope="module")
def eyes(tiny_model: Callable[[str], Path]) -> Iterator[Api]:
    """A running API and its worker, with a model that reads."""
    home = Path(tempfile.mkdtemp(prefix="mlx-", dir="/tmp"))
    (home / "catalog.toml").write_text(
        f'[[model]]\nid = "reader"\nrepo = "{tiny_model("paddleocr_vl-f32")}"\ntasks = ["ocr", "vision"]\n[roles]\nocr = "reader"\n'
    )
    (home / "redis").mkdir()
    redis = RedisServer(home / "redis")
    redis.start()
    of_home = load_settings(home=home / "home", redis_url=redis.url, profile="starter", min_free_disk=0, catalog=home / "catalog.toml")
    of_home.home.mkdir()
    worker = WorkerProcess(of_home)
    worker.start()
    with running(of_home) as api:
        yield api
    assert worker.stop() == 0
    redis.kill()
    shutil.rmtree(home, ignore_errors=True)


def read(eyes: Api, document: bytes, **fields: str) -> list[str]:
    """Return the texts of a document's pages."""
    answer = eyes.http.post("/v1/ocr", files={"file": ("a.pdf", document)}, data={"max_tokens": "12", **fields})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["usage"]["pages"] == len(body["pages"])
    assert all(page["warnings"] for page in body["pages"] if page["finish_reason"] == "length")
    return [page["text"] for page in body["pages"]]


def test_a_page_reads_the_same_alone_and_among_others(eyes: Api) -> None:
    document = barred([3, 30, 0, 12])
    together = read(eyes, document)
    assert together[2] == ""
    assert [read(eyes, document, pages=str(number))[0] for number in (1, 2, 3, 4)] == together
    assert read(eyes, document) == together
    assert len({text for text in together if text}) > 1


def test_a_page_that_cannot_be_looked_at_costs_the_others_nothing(eyes: Api) -> None:
    sizes = [(90, 90), (9000, 20), (90, 60)]
    document = tiff([Image.linear_gradient("L").resize(size) for size in sizes])
    answer = eyes.http.post("/v1/ocr", files={"file": ("a.tif", document)}, data={"max_tokens": "4"})
    assert answer.status_code == 200, answer.text
    pages = answer.json()["pages"]
    assert [(page["page"], page["finish_reason"] == "error") for page in pages] == [(1, False), (2, True), (3, False)]
    assert "Page 2" in pages[1]["warnings"][0]
    alone = tiff([Image.linear_gradient("L").resize(sizes[1])] * 2)
    refused = eyes.http.post("/v1/ocr", files={"file": ("a.tif", alone)})
    assert "None of the 2 pages" in refused.json()["error"]["message"]


def test_a_task_and_a_prompt_are_what_the_model_is_asked(eyes: Api) -> None:
    document = pdf(["Some words"])
    texts = {read(eyes, document)[0], read(eyes, document, task="table")[0], read(eyes, document, prompt="Which year is it?")[0]}
    assert len(texts) > 1
    assert read(eyes, document, task="ocr") == read(eyes, document, prompt="OCR:")
