"""``mlx-local chat`` and ``embed`` against the real API, with a worker that says what the test wants said."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from app.jobs.record import JobState
from app.settings import Settings
from tests.integration.command import COMMAND, environment, mlx_local
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker


@pytest.fixture
def client_settings(api: Api, api_settings: Settings) -> Settings:
    """Settings that lead the command to the running API."""
    return api_settings.model_copy(update={"port": api.port})


def test_an_answer_is_printed_as_it_is_written(client_settings: Settings, worker: FakeWorker) -> None:
    command = [*COMMAND, "chat", "--temperature", "0", "--max-tokens", "9", "-s", "Be brief.", "Hello", "you"]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment(client_settings), bufsize=0, **streams) as chat:  # type: ignore[call-overload]
        job = worker.claim()
        assert job.model == "tiny-chat"
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello you"}]
        assert {name: job.request[name] for name in ("messages", "temperature", "max_tokens")} == {
            "messages": messages,
            "temperature": 0.0,
            "max_tokens": 9,
        }
        worker.say(job, "Grüße ")
        assert chat.stdout.read(len("Grüße ".encode())).decode() == "Grüße "  # before the job has ended
        worker.say(job, "🎉")
        worker.finish_chat(job, "Grüße 🎉")
        assert chat.stdout.read().decode() == "🎉\n"
    assert chat.returncode == 0


def test_what_is_piped_in_follows_the_prompt(client_settings: Settings, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(mlx_local, client_settings, "chat", "Summarise:", stdin="a\nlong text\n")
    job = worker.claim()
    worker.finish_chat(job, "Short.")

    assert call.result().returncode == 0
    assert job.request["messages"] == [{"role": "user", "content": "Summarise:\n\na\nlong text\n"}]


def test_what_is_thought_is_asked_for_and_is_no_part_of_what_is_piped_on(
    client_settings: Settings, worker: FakeWorker, background: ThreadPoolExecutor
) -> None:
    call = background.submit(mlx_local, client_settings, "chat", "--think", "Hello", stdin="")
    job = worker.claim()
    assert job.request["enable_thinking"] is True
    worker.say(job, reasoning="He greets me.")
    worker.say(job, "Hi")
    worker.finish_chat(job, "Hi", reasoning="He greets me.")
    assert call.result().stdout == "Hi\n"


def test_json_prints_the_whole_answer(client_settings: Settings, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(mlx_local, client_settings, "chat", "--json", "-m", "little", stdin="Hello")
    worker.finish_chat(worker.claim(), "Hi")
    answer = json.loads(call.result().stdout)

    assert answer["choices"][0]["message"]["content"] == "Hi"
    assert answer["usage"]["total_tokens"] == 10


def test_a_job_that_fails_in_mid_answer_fails_the_command(
    client_settings: Settings, worker: FakeWorker, background: ThreadPoolExecutor
) -> None:
    call = background.submit(mlx_local, client_settings, "chat", "Hello")
    job = worker.claim()
    worker.say(job, "Hi ")
    worker.fail(job, "engine_error", "The engine broke.")
    done = call.result()

    assert done.returncode == 1
    assert done.stdout == "Hi \n"
    assert "The engine broke." in done.stderr


def test_ctrl_c_hangs_up_and_so_cancels_the_job(client_settings: Settings, worker: FakeWorker) -> None:
    command = [*COMMAND, "chat", "Hello"]
    with subprocess.Popen(command, env=environment(client_settings), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as chat:
        job = worker.claim()
        worker.say(job, "Hi ")
        assert chat.stdout is not None
        assert chat.stdout.read(1) == b"H"
        chat.send_signal(signal.SIGINT)
        worker.wait_for(job.id, JobState.CANCELED)
    assert chat.returncode == 130


def test_an_unknown_model_is_a_sentence_with_the_nearest_names(client_settings: Settings) -> None:
    done = mlx_local(client_settings, "chat", "-m", "tiny-chta", "Hello")

    assert done.returncode == 1
    assert "tiny-chat" in done.stderr
    assert done.stdout == ""


def test_vectors_come_a_line_each_in_the_order_of_the_texts(
    client_settings: Settings, worker: FakeWorker, background: ThreadPoolExecutor
) -> None:
    call = background.submit(mlx_local, client_settings, "embed", "--dimensions", "2", "a cat", "a kitten")
    job = worker.claim()
    worker.finish_embedding(job)

    assert job.request["input"] == ["a cat", "a kitten"]
    assert [json.loads(line) for line in call.result().stdout.splitlines()] == [[0.0, 2.0], [1.0, 2.0]]


def test_each_line_piped_in_is_embedded(client_settings: Settings, worker: FakeWorker, background: ThreadPoolExecutor) -> None:
    call = background.submit(mlx_local, client_settings, "embed", "--json", stdin="a cat\n\na kitten\n")
    job = worker.claim()
    worker.finish_embedding(job)

    assert job.request["input"] == ["a cat", "a kitten"]
    assert len(json.loads(call.result().stdout)["data"]) == 2


@pytest.mark.parametrize(
    "command", [("chat",), ("embed",), ("chat", "--temperature", "3", "Hello"), ("chat", "--max-tokens", "0", "Hello")]
)
def test_wrong_usage_is_code_2_and_asks_nobody(settings: Settings, command: tuple[str, ...]) -> None:
    done = mlx_local(settings, *command)

    assert done.returncode == 2
    assert done.stderr


@pytest.mark.parametrize("command", ["chat", "embed"])
def test_without_a_server_the_command_says_how_to_start_one(settings: Settings, command: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        nobody = settings.model_copy(update={"port": taken.getsockname()[1]})
    done = mlx_local(nobody, command, "Hello", HTTP_PROXY="http://127.0.0.1:9")

    assert done.returncode == 3
    assert "mlx-local up" in done.stderr


def test_an_answer_that_is_cut_off_is_not_taken_for_a_whole_one(settings: Settings) -> None:
    piece = b'data: {"choices": [{"index": 0, "delta": {"content": "Par"}}]}\n\n'
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_and_leave() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + piece)
                # Until the client leaves: what is unread at a close turns it into a reset.
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=answer_and_leave)
        thread.start()
        done = mlx_local(settings.model_copy(update={"port": listener.getsockname()[1]}), "chat", "Hello")
        thread.join()

    assert done.returncode == 1
    assert done.stdout == "Par\n"
    assert "not complete" in done.stderr
