"""``mlx-local batch``: a file is answered, followed again after Ctrl-C, and told of where it is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from openai.types import Batch

from app.cli import batch_run
from app.settings import Settings
from tests.integration.answering_worker import answering
from tests.integration.batch_files import chat_line, ended
from tests.integration.command import mlx_local
from tests.integration.conftest import Api
from tests.integration.relay import Relay
from tests.integration.terminal import on_terminal


@pytest.fixture
def client_settings(api: Api, api_settings: Settings) -> Settings:
    """Settings that lead the command to the running API."""
    return api_settings.model_copy(update={"port": api.port})


def requests(folder: Path, *lines: dict[str, object] | str) -> Path:
    file = folder / "night.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


def names(file: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in file.read_text().splitlines()]


def test_ctrl_c_leaves_a_batch_and_the_same_command_fetches_what_came_of_it(client_settings: Settings, api: Api, tmp_path: Path) -> None:
    file = requests(tmp_path, chat_line("bad", stream=True), *(chat_line(f"{n}") for n in range(80)))
    with on_terminal(client_settings, "batch", "run", str(file)) as screen:
        screen.read_until("1/81")  # what is refused is known at once, and no worker runs
        screen.type("\x03")
        screen.read_until("The server goes on with batch_")
        assert screen.end() == 130
    (batch,) = api.openai.batches.list()
    with answering(client_settings):
        done = mlx_local(client_settings, "batch", "run", str(file), "-o", str(tmp_path / "answers.jsonl"))
    assert (done.returncode, done.stderr) == (1, "1 of 81 lines were not answered.\n")
    assert done.stdout.splitlines()[-3:] == [
        f"{batch.id} is completed: 80 of 81 lines were answered.",
        str(tmp_path / "answers.jsonl"),
        str(tmp_path / "night.errors.jsonl"),
    ]
    assert names(tmp_path / "answers.jsonl") == [f"{n}" for n in range(80)]
    assert names(tmp_path / "night.errors.jsonl") == ["bad"]
    assert len(list(api.openai.batches.list())) == 1


def test_what_cannot_be_answered_is_told_in_sentences(client_settings: Settings, api: Api, tmp_path: Path) -> None:
    file = requests(tmp_path, chat_line("a"), "nonsense", chat_line("a"))
    wrong = mlx_local(client_settings, "batch", "run", str(file))
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("line 2: This line is not parseable as valid JSON.\nline 3: The custom_id 'a' is a duplicate")
    requests(tmp_path, chat_line("a"))
    with on_terminal(client_settings, "batch", "run", str(file), "--again") as screen:
        screen.read_until("in_progress")
        newest = next(iter(api.openai.batches.list()))
        assert f"id           {newest.id}\n" in mlx_local(client_settings, "batch", "cancel", newest.id).stdout
        assert screen.end() == 1
    ended(api.openai, newest, "cancelled")
    newest_line, failed_line = mlx_local(client_settings, "batch", "list").stdout.splitlines()[1:]
    assert newest_line.split()[:3] == [newest.id, "/v1/chat/completions", "cancelled"]
    assert failed_line.split()[2] == "failed"


def test_a_server_that_is_away_is_waited_for(client_settings: Settings, api: Api, tmp_path: Path) -> None:
    file = requests(tmp_path, chat_line("bad", stream=True), *(chat_line(f"{n}") for n in range(3)))
    with (
        Relay(api.port) as relay,
        on_terminal(client_settings.model_copy(update={"port": relay.port}), "batch", "run", str(file)) as screen,
    ):
        screen.read_until("1/4")
        relay.cut()
        relay.tried.clear()
        assert relay.tried.wait(60)
        relay.mend()
        with answering(client_settings):
            assert screen.end() == 1
    assert names(tmp_path / "night.output.jsonl") == ["0", "1", "2"]


def test_a_batch_is_found_again_whatever_came_after_it(
    client_settings: Settings, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_run, "_PAGE", 1)
    first, *others = (requests(tmp_path, chat_line(name)).rename(tmp_path / name) for name in ("first", "second", "third"))
    made = batch_run.begin(client_settings, first, "24h", again=False)
    for other in others:
        batch_run.begin(client_settings, other, "24h", again=False)
    assert batch_run.begin(client_settings, first, "24h", again=False)["id"] == made["id"]
    assert batch_run.begin(client_settings, first, "24h", again=True)["id"] != made["id"]
    assert len(list(api.openai.batches.list())) == 4


def test_a_file_whose_answers_were_deleted_is_answered_anew(client_settings: Settings, api: Api, tmp_path: Path) -> None:
    file = requests(tmp_path, chat_line("a"))
    with answering(client_settings):
        first = ended(api.openai, Batch.model_validate(batch_run.begin(client_settings, file, "24h", again=False)))
        assert batch_run.begin(client_settings, file, "24h", again=False)["id"] == first.id
        api.openai.files.delete(str(first.output_file_id))
        second = batch_run.begin(client_settings, file, "24h", again=False)
        assert second["id"] != first.id
        ended(api.openai, Batch.model_validate(second))


def test_a_pipe_is_not_replaced_by_answers(client_settings: Settings, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = mlx_local(client_settings, "batch", "run", str(requests(tmp_path, chat_line("a"))), "-o", str(tmp_path / "pipe"), "--force")
    assert (done.returncode, done.stderr) == (2, f"{tmp_path / 'pipe'} is no regular file.\n")
    assert (tmp_path / "pipe").is_fifo()


def test_what_is_no_file_of_requests_is_told_as_what_it_is(client_settings: Settings, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").write_text("\n\n")
    for name, wrong in (("pipe", "is read more than once: save it as a file first"), ("empty", "has no requests")):
        done = mlx_local(client_settings, "batch", "run", str(tmp_path / name))
        assert (done.returncode, done.stderr) == (2, f"{tmp_path / name} {wrong}.\n")
