"""``mlx-local chat`` as a conversation, on a terminal, against the real API."""

from __future__ import annotations

import stat

import pytest

from app.cli.conversation import HISTORY
from app.jobs.record import JobState
from app.settings import Settings
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker
from tests.integration.terminal import on_terminal


@pytest.fixture
def client_settings(api: Api, api_settings: Settings) -> Settings:
    """Settings that lead the command to the running API."""
    return api_settings.model_copy(update={"port": api.port})


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_a_conversation_is_kept_until_it_is_reset(client_settings: Settings, worker: FakeWorker) -> None:
    with on_terminal(client_settings, "chat", "-s", "Be brief.", "--temperature", "0") as screen:
        screen.read_until(">>> ")
        screen.type("Hello\n")
        job = worker.claim()
        assert job.request["temperature"] == 0
        worker.say(job, "Grüße ")
        screen.read_until("Grüße ")  # before the job has ended
        worker.say(job, "🎉")
        worker.finish_chat(job, "Grüße 🎉")
        screen.read_until("🎉\r\n")
        screen.read_until(">>> ")
        screen.type("And you?\n")
        job = worker.claim()
        said = [message("user", "Hello"), message("assistant", "Grüße 🎉"), message("user", "And you?")]
        assert job.request["messages"] == [message("system", "Be brief."), *said]
        worker.fail(job, "engine_error", "The engine broke.")
        screen.read_until("The engine broke.")  # and the question is taken back, so that it can be asked again
        screen.type("/reset\n")
        screen.read_until("Forgotten.")
        screen.read_until(">>> ")
        screen.type("Again\n")
        job = worker.claim()
        assert job.request["messages"] == [message("system", "Be brief."), message("user", "Again")]
        worker.finish_chat(job, "")
        screen.read_until(">>> ")  # before, the terminal would keep the key for itself
        screen.type("\x04")
        assert screen.end() == 0
    history = client_settings.home / HISTORY
    assert history.read_text().split("\n")[-5:] == ["Hello", "And you?", "/reset", "Again", ""]
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_ctrl_c_stops_an_answer_and_cancels_its_job(client_settings: Settings, worker: FakeWorker) -> None:
    with on_terminal(client_settings, "chat") as screen:
        screen.read_until(">>> ")
        screen.type("Hello\n")
        job = worker.claim()
        worker.say(job, "Once upon")
        screen.read_until("Once upon")
        screen.type("\x03")
        screen.read_until("(stopped)")
        worker.wait_for(job.id, JobState.CANCELED)
        screen.read_until(">>> ")
        screen.type("abandoned")
        screen.read_until("abandoned")  # else readline may not listen yet
        screen.type("\x03")  # at the prompt it drops the line
        screen.read_until(">>> ")
        screen.type("Go on\n")
        job = worker.claim()
        assert job.request["messages"] == [message("user", "Hello"), message("assistant", "Once upon"), message("user", "Go on")]
        worker.finish_chat(job, "")
        screen.read_until(">>> ")
        screen.type("/exit\n")
        assert screen.end() == 0


def test_a_server_that_is_away_is_told_and_asked_again_later(settings: Settings) -> None:
    with on_terminal(settings.model_copy(update={"port": 1}), "chat") as screen:
        screen.read_until(">>> ")
        screen.type("/help\n")
        screen.read_until("/reset")
        screen.read_until(">>> ")
        screen.type("Hello\n")
        screen.read_until("mlx-local up")
        screen.read_until(">>> ")
        screen.type("\x04")
        assert screen.end() == 0


def test_what_was_typed_before_is_a_key_away(settings: Settings) -> None:
    (settings.home / HISTORY).write_text("typed yesterday\n")
    with on_terminal(settings.model_copy(update={"port": 1}), "chat") as screen:
        screen.read_until(">>> ")
        screen.type("\x10")  # as the arrow key upwards
        screen.read_until("typed yesterday")
        screen.type("\x15\x04")
        assert screen.end() == 0
    assert stat.S_IMODE((settings.home / HISTORY).stat().st_mode) == 0o600
