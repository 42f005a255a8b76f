"""``mlx-local ocr`` against the real API, with a worker that reads what the test says."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.actors.pages import blank_page, ocr_body
from app.jobs.claims import Claimed
from app.jobs.record import JobState, Progress
from app.settings import Settings
from tests.documents import BROKEN, pdf
from tests.integration.command import COMMAND, environment, mlx_local
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker
from tests.integration.terminal import on_terminal


@pytest.fixture
def client_settings(reading_settings: Settings, start_api: Callable[..., Api]) -> Settings:
    """Settings that lead the command to a running API with a model that reads."""
    return reading_settings.model_copy(update={"port": start_api(reading_settings).port})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A document of three pages."""
    path = tmp_path / "a [1] scan.pdf"
    path.write_bytes(pdf(["One", "Two", "Three"]))
    return path


def read(worker: FakeWorker, *, warnings: Sequence[str] = ()) -> Claimed:
    """Take the next job and commit a text."""
    job = worker.claim()
    page, spent = blank_page(2)
    made = ocr_body([(page | {"text": "Grüße\tParis", "markdown": "| Grüße |", "warnings": list(warnings)}, spent)], job.model, job.request)
    worker.store.commit(job.id, job.token, JobState.SUCCEEDED, output=made.output, usage=made.usage)
    return job


def test_a_text_is_written_beside_its_document_in_each_format_asked_for(
    client_settings: Settings, worker: FakeWorker, background: ThreadPoolExecutor, file: Path
) -> None:
    wanted = ["-f", "md", "-f", "txt", "-f", "json", "--pages", "2-", "--task", "table", "--max-tokens", "99", "--prompt", "Read."]
    call = background.submit(mlx_local, client_settings, "ocr", str(file), *wanted)
    job = read(worker, warnings=["Page 2 is cut off."])
    done = call.result()

    assert done.returncode == 0, done.stderr
    assert "Page 2 is cut off." in done.stderr
    written = [file.with_name(f"a [1] scan.{suffix}") for suffix in ("md", "txt", "json")]
    assert done.stdout.splitlines() == [str(path) for path in written]
    assert written[0].read_text(encoding="utf-8") == "| Grüße |\n"
    assert written[1].read_text(encoding="utf-8") == "Grüße\tParis\n"
    assert json.loads(written[2].read_text(encoding="utf-8"))["pages"][0]["page"] == 2
    assert sorted(file.parent.iterdir()) == sorted([file, *written])
    assert (job.kind, job.model, job.request) == (
        "ocr",
        "tiny-eyes",
        {"task": "table", "pages": "2-", "prompt": "Read.", "max_tokens": 99},
    )
    assert [worker.store.spool.get(blob) for blob in job.blobs] == [file.read_bytes()]


def test_a_text_is_printed_alone(client_settings: Settings, worker: FakeWorker, background: ThreadPoolExecutor, file: Path) -> None:
    call = background.submit(mlx_local, client_settings, "ocr", "--stdout", str(file))
    read(worker)
    assert (call.result().stdout, call.result().stderr) == ("| Grüße |\n", "")
    assert list(file.parent.iterdir()) == [file]

    call = background.submit(mlx_local, client_settings, "ocr", "--stdout", str(file), "-", stdin=pdf(["One"]).decode("latin-1"))
    read(worker)
    read(worker)
    assert call.result().stdout == f"==> {file} <==\n| Grüße |\n\n==> - <==\n| Grüße |\n"

    call = background.submit(mlx_local, client_settings, "ocr", "-", "-f", "txt", stdin=pdf(["One"]).decode("latin-1"))
    read(worker)
    assert call.result().stdout == "Grüße\tParis\n"


def test_one_document_that_cannot_be_read_keeps_none_from_being_read(
    client_settings: Settings, worker: FakeWorker, background: ThreadPoolExecutor, tmp_path: Path
) -> None:
    files = [tmp_path / f"{name}.pdf" for name in ("a", "b", "c", "d")]
    for path, content in zip(files, [pdf(["a"]), BROKEN["encrypted"], pdf(["c"]), pdf(["d"])], strict=True):
        path.write_bytes(content)
    (out := tmp_path / "out").mkdir()
    call = background.submit(mlx_local, client_settings, "ocr", *map(str, files), "-o", str(out))
    read(worker)
    worker.fail(worker.claim(), "engine_error", "The model failed.")
    read(worker)
    done = call.result()

    assert done.returncode == 1
    assert f"{files[1]}: The PDF is encrypted" in done.stderr
    assert f"{files[2]}: The model failed." in done.stderr
    assert "2 of 4 files were not read." in done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["a.md", "d.md"]


def test_a_file_that_is_there_is_replaced_only_when_that_is_said(
    client_settings: Settings, worker: FakeWorker, background: ThreadPoolExecutor, file: Path
) -> None:
    notes = file.with_suffix(".md")
    notes.write_text("My own notes.")
    done = mlx_local(client_settings, "ocr", str(file))
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert worker.store.list_jobs(limit=1) == []

    call = background.submit(mlx_local, client_settings, "ocr", str(file), "--force")
    read(worker)
    assert call.result().returncode == 0
    assert notes.read_text(encoding="utf-8") == "| Grüße |\n"


@pytest.mark.parametrize(
    "words",
    [
        ("nowhere.pdf",),
        ("a.pdf", "a.png"),
        ("a.md",),
        ("a.pdf", "--task", "poem"),
        ("a.pdf", "--max-tokens", "0"),
        ("a.pdf", "--stdout", "-f", "txt", "-f", "md"),
        ("a.pdf", "-o", "nowhere"),
    ],
)
def test_wrong_usage_is_code_2_and_nothing_is_read(settings: Settings, tmp_path: Path, words: tuple[str, ...]) -> None:
    for name in ("a.pdf", "a.png", "a.md"):
        (tmp_path / name).write_bytes(b"content")
    done = mlx_local(settings, "ocr", *(str(tmp_path / word) if word[0] in "an" else word for word in words))

    assert done.returncode == 2
    assert done.stderr
    assert "Value error" not in done.stderr
    assert "Input should" not in done.stderr
    assert (tmp_path / "a.md").read_bytes() == b"content"


def test_what_the_server_refuses_is_told_in_its_words(client_settings: Settings, file: Path) -> None:
    done = mlx_local(client_settings, "ocr", str(file), "--pages", "4")
    assert done.returncode == 1
    assert "there is no page 4: the document has 3" in done.stderr


def test_ctrl_c_cancels_the_job(client_settings: Settings, worker: FakeWorker, file: Path) -> None:
    command = [*COMMAND, "ocr", str(file)]
    with subprocess.Popen(command, env=environment(client_settings), stdin=subprocess.DEVNULL) as process:
        job = worker.claim()
        process.send_signal(signal.SIGINT)
        worker.wait_for(job.id, JobState.CANCELED)
    assert process.returncode == 130
    assert list(file.parent.iterdir()) == [file]


def test_a_terminal_shows_how_many_pages_are_read(client_settings: Settings, worker: FakeWorker, file: Path) -> None:
    with on_terminal(client_settings, "ocr", str(file)) as screen:
        screen.read_until("scan.pdf")
        job = worker.claim()
        worker.store.publish_progress([(job.id, job.token, Progress(done=2, total=3, unit="pages"))])
        screen.read_until("2 of 3 pages")
        worker.fail(job, "engine_error", "The model failed.")
        screen.read_until("The model failed.")
        assert screen.end() == 1
