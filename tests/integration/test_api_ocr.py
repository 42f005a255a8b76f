"""What ``POST /v1/ocr`` takes and refuses, and what of it reaches the job. A worker that reads nothing stands behind it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from PIL import Image
from pydantic_core import to_json

from app.actors.pages import blank_page, ocr_body
from app.api.ocr_answers import OcrAnswer
from app.jobs.claims import Claimed
from app.jobs.record import JobState
from app.jobs.store import JobStore
from app.settings import Settings
from tests.documents import BROKEN, pdf, tiff
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker

_LATER = {"Prefer": "respond-async"}
_DOCUMENT = pdf(["One", "Two", "Three"])


def picture(form: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, form)
    return out.getvalue()


def uri(content: bytes, media_type: str = "application/pdf") -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


@pytest.fixture
def eyes(reading_settings: Settings, start_api: Callable[..., Api]) -> Api:
    """A running API with a model that reads; pictures have at most two megapixels and documents three pages."""
    return start_api(reading_settings.model_copy(update={"max_picture_pixels": 2_000_000, "max_pages": 3}))


def refused(answer: httpx.Response, status: int, param: str | None, code: str | None = None) -> str:
    """Insist on the shape of the route and return the sentence."""
    body = answer.json()
    error = body.get("error") or body
    assert (answer.status_code, error.get("param")) == (status, param), error
    assert code in {None, error["code"]}, error
    return str(error["message"] if "error" in body else error["detail"])


def made(worker: FakeWorker, job: Claimed) -> bytes:
    """Commit a page's text and return the whole output."""
    page, spent = blank_page(1)
    joined = ocr_body([(page | {"text": "Hello."}, spent)], job.model, job.request)
    worker.store.commit(job.id, job.token, JobState.SUCCEEDED, output=joined.output, usage=joined.usage, media_type=joined.media_type)
    return joined.output


@pytest.mark.parametrize(
    "content",
    [_DOCUMENT, picture(), picture("JPEG"), picture("WEBP"), tiff([Image.new("L", (9, 9), 5)] * 2)],
    ids=["pdf", "png", "jpeg", "webp", "tiff"],
)
def test_a_file_comes_in_a_form_and_is_known_by_its_content(eyes: Api, worker: FakeWorker, store: JobStore, content: bytes) -> None:
    fields = {"task": "table", "prompt": "Read.", "max_tokens": "300", "keep_alive": "10m"}
    answer = eyes.http.post("/v1/ocr", data=fields, files={"file": ("upload.bin", content)}, headers=_LATER)
    assert answer.status_code == 202, answer.text
    job = worker.claim()
    assert (job.kind, job.model, job.request) == (
        "ocr",
        "tiny-eyes",
        {"task": "table", "prompt": "Read.", "max_tokens": 300, "keep_alive": 600.0},
    )
    assert [store.spool.get(blob) for blob in job.blobs] == [content]
    assert list(store.spool.holders()) == [job.id]


@pytest.mark.parametrize(
    "source", [{"image": uri(picture(), "image/png")}, {"document": uri(_DOCUMENT)}, {"document": uri(picture()), "file_id": None}]
)
def test_what_is_to_be_read_may_be_in_the_body(eyes: Api, worker: FakeWorker, store: JobStore, source: dict[str, Any]) -> None:
    answer = eyes.http.post("/v1/ocr", json={**source, "pages": "1-"}, headers=_LATER)
    assert answer.status_code == 202, answer.text
    job = worker.claim()
    assert job.request == {"pages": "1-"}
    assert len(job.blobs) == 1
    assert store.spool.get(job.blobs[0])[:4] in {b"%PDF", b"\x89PNG"}


def test_an_uploaded_file_is_read_by_its_id(eyes: Api, worker: FakeWorker, store: JobStore) -> None:
    upload = eyes.openai.files.create(file=("a.pdf", _DOCUMENT), purpose="user_data")
    assert eyes.http.post("/v1/ocr", json={"file_id": upload.id}, headers=_LATER).status_code == 202
    eyes.openai.files.delete(upload.id)
    job = worker.claim()
    assert [store.spool.get(blob) for blob in job.blobs] == [_DOCUMENT]
    refused(eyes.http.post("/v1/ocr", json={"file_id": upload.id}), 404, "file_id", "file_not_found")


@pytest.mark.parametrize("form", ["json", "text", "markdown"])
def test_the_answer_is_the_output_in_the_format_that_was_asked_for(
    eyes: Api, worker: FakeWorker, background: ThreadPoolExecutor, form: str
) -> None:
    call = background.submit(eyes.http.post, "/v1/ocr", json={"image": uri(picture()), "response_format": form})
    output = made(worker, worker.claim())
    answer = call.result()
    assert (answer.status_code, answer.content) == (200, output)
    if form == "json":
        assert OcrAnswer.model_validate(answer.json()).text == "Hello."
    else:
        assert answer.headers["content-type"] == {"text": "text/plain", "markdown": "text/markdown"}[form] + "; charset=utf-8"


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("way", ["form", "document", "file_id", "job", "job-form"])
def test_a_broken_document_is_refused_before_there_is_a_job(eyes: Api, store: JobStore, name: str, way: str) -> None:
    content = BROKEN[name]
    files = {"file": ("a.pdf", content)}
    match way:
        case "form":
            answer, param = eyes.http.post("/v1/ocr", files=files), "file"
        case "document":
            answer, param = eyes.http.post("/v1/ocr", json={"document": uri(content)}), "document"
        case "file_id":
            if not content:
                return  # an empty file is not taken in the first place
            file_id = eyes.openai.files.create(file=("a.pdf", content), purpose="user_data").id
            answer, param = eyes.http.post("/v1/ocr", json={"file_id": file_id}), "file_id"
            eyes.openai.files.delete(file_id)
        case "job":
            answer = eyes.http.post("/v1/jobs", json={"kind": "ocr", "request": {"document": uri(content)}})
            param = "request.document"
        case _:
            answer, param = eyes.http.post("/v1/jobs", data={"kind": "ocr"}, files=files), "file"
    assert refused(answer, 400, param).endswith(".")
    assert store.list_jobs(limit=1) == []
    assert list(store.spool.holders()) == []


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (picture()[:70], "unreadable_image"),
        (picture("JPEG", (90, 90))[:400], "unreadable_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unreadable_image"),
        (picture(size=(2001, 1000)), "image_too_large"),
    ],
)
def test_a_broken_picture_is_refused(eyes: Api, store: JobStore, content: bytes, code: str) -> None:
    refused(eyes.http.post("/v1/ocr", files={"file": ("a.png", content)}), 400, "file", code)
    refused(eyes.http.post("/v1/ocr", json={"image": uri(content, "image/png")}), 400, "image", code)
    assert list(store.spool.holders()) == []


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "image"),
        ({"image": None}, 400, "image"),
        ({"image": "data:image/png;base64,AAAA", "document": "data:application/pdf;base64,AAAA"}, 400, "document"),
        ({"image": "/etc/passwd"}, 400, "image"),
        ({"image": "file:///etc/passwd"}, 400, "image"),
        ({"image": "http://127.0.0.1:1/a.png"}, 400, "image"),
        ({"image": "data:image/png;base64,!!!"}, 400, "image"),
        ({"document": "https://example.com/a.pdf"}, 400, "document"),
        ({"file_id": "file-nothing"}, 404, "file_id"),
        ({"document": uri(_DOCUMENT), "pages": "4"}, 400, "pages"),
        ({"document": uri(_DOCUMENT), "pages": "x"}, 400, "pages"),
        ({"document": uri(_DOCUMENT), "pages": "2-1"}, 400, "pages"),
        ({"document": uri(pdf(["x"] * 4))}, 400, "pages"),
        ({"image": uri(picture()), "pages": "2"}, 400, "pages"),
        ({"document": uri(_DOCUMENT), "task": "poem"}, 400, "task"),
        ({"document": uri(_DOCUMENT), "max_tokens": 0}, 400, "max_tokens"),
        ({"document": uri(_DOCUMENT), "max_tokens": "5"}, 400, "max_tokens"),
        ({"document": uri(_DOCUMENT), "prompt": ""}, 400, "prompt"),
        ({"document": uri(_DOCUMENT), "response_format": "docx"}, 400, "response_format"),
        ({"document": uri(_DOCUMENT), "stream": True}, 400, "stream"),
        ({"document": uri(_DOCUMENT), "model": "tiny-chat"}, 400, "model"),
        ({"document": uri(_DOCUMENT), "model": "nobody"}, 404, "model"),
    ],
)
def test_a_wrong_field_is_refused_by_name(eyes: Api, store: JobStore, body: dict[str, Any], status: int, param: str) -> None:
    refused(eyes.http.post("/v1/ocr", json=body), status, param)
    refused(eyes.http.post("/v1/jobs", json={"kind": "ocr", "request": body}), status, f"request.{param}")
    assert store.list_jobs(limit=1) == []
    assert list(store.spool.holders()) == []


def test_a_form_brings_one_thing_to_read(eyes: Api, store: JobStore) -> None:
    files = {"file": ("a.pdf", _DOCUMENT)}
    refused(eyes.http.post("/v1/ocr", data={"image": uri(picture())}, files=files), 400, "image")
    refused(eyes.http.post("/v1/ocr", data={"pages": "4"}, files=files), 400, "pages")
    refused(eyes.http.post("/v1/ocr", files={"scan": ("a.pdf", _DOCUMENT)}), 400, "file")
    refused(eyes.http.post("/v1/ocr", content=b"{nonsense"), 400, None)
    assert list(store.spool.holders()) == []


def test_pages_that_are_enough_may_be_chosen_of_a_document_that_has_too_many(eyes: Api, worker: FakeWorker) -> None:
    answer = eyes.http.post("/v1/ocr", data={"pages": "2-4"}, files={"file": ("a.pdf", pdf(["x"] * 9))}, headers=_LATER)
    assert answer.status_code == 202
    assert worker.claim().request["pages"] == "2-4"


def test_the_same_key_with_the_same_document_is_the_same_job(eyes: Api, worker: FakeWorker, store: JobStore) -> None:
    def ask(content: bytes) -> httpx.Response:
        headers = {**_LATER, "Idempotency-Key": "one"}
        return eyes.http.post("/v1/ocr", files={"file": ("a.pdf", content)}, headers=headers)

    first, second = ask(_DOCUMENT), ask(_DOCUMENT)
    assert first.json()["id"] == second.json()["id"]
    assert ask(pdf(["Other"])).status_code == 422
    job = worker.claim()
    worker.store.commit(job.id, job.token, JobState.SUCCEEDED, output=to_json({"text": ""}))
    assert ask(_DOCUMENT).json()["id"] == job.id


def test_a_job_for_later_is_one_of_its_kind_and_may_be_tried_again(eyes: Api, worker: FakeWorker, store: JobStore) -> None:
    answer = eyes.http.post("/v1/jobs", json={"kind": "ocr", "request": {"document": uri(_DOCUMENT), "task": "chart"}})
    assert answer.status_code == 202
    job = worker.claim()
    assert (job.kind, job.request) == ("ocr", {"task": "chart"})
    output = made(worker, job)
    assert eyes.http.get(f"/v1/jobs/{job.id}/output").content == output
    assert eyes.http.post(f"/v1/jobs/{job.id}/retry").status_code == 202
    again = worker.claim()
    assert (again.request, again.blobs) == (job.request, job.blobs)

    sent = {"kind": "ocr", "lane": "interactive", "request": json.dumps({"pages": "1"})}
    assert eyes.http.post("/v1/jobs", data=sent, files={"file": ("a.pdf", _DOCUMENT)}).status_code == 202
    assert (worker.claim().request, store.list_jobs(limit=1)[0].lane) == ({"pages": "1"}, "interactive")


def test_a_deadline_that_has_passed_ends_the_job(eyes: Api, worker: FakeWorker) -> None:
    answer = eyes.http.post("/v1/ocr", json={"document": uri(_DOCUMENT)}, headers={"Cancel-After": "0.3"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
