"""``mlx-local models load``, ``unload`` and ``remove`` against the real API."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.settings import Settings, load_settings
from tests.integration.answering_worker import answering
from tests.integration.command import mlx_local
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker


@pytest.fixture
def client_settings(api: Api, api_settings: Settings) -> Settings:
    """Settings that lead the command to the running API."""
    return api_settings.model_copy(update={"port": api.port})


def test_a_model_is_loaded_and_unloaded_and_the_command_says_so(client_settings: Settings) -> None:
    with answering(client_settings):
        loaded = mlx_local(client_settings, "models", "load", "little", "--keep-alive", "-1")
        assert (loaded.stdout, loaded.returncode) == ("tiny-chat is in memory, 0.00 GB.\n", 0)
        told = mlx_local(client_settings, "models", "load", "chat", "--json")
        assert json.loads(told.stdout).items() >= {"id": "tiny-chat", "resident": True}.items()
        unloaded = mlx_local(client_settings, "models", "unload", "little")
        assert (unloaded.stdout, unloaded.returncode) == ("tiny-chat is out of memory.\n", 0)


def test_a_load_that_is_still_to_come_is_told_with_code_1(client_settings: Settings) -> None:
    late = mlx_local(client_settings, "models", "load", "little", "--json")
    assert late.returncode == 1
    assert json.loads(late.stdout)["resident"] is False
    assert "tiny-chat is not in memory yet" in late.stderr


def test_what_is_refused_is_a_sentence(client_settings: Settings, worker: FakeWorker) -> None:
    for words, sentence in [
        (("load", "nobody/nothing"), "mlx-local models pull nobody/nothing"),
        (("load", "far-away"), "The files of 'far-away' are not on this machine"),
        (("load", "little", "--keep-alive", "soon"), "keep_alive"),
        (("remove", "little"), "delete it yourself"),
        (("remove", "far away?"), "'far away?' is not in the catalog"),
    ]:
        refused = mlx_local(client_settings, "models", *words)
        assert (refused.stdout, refused.returncode) == ("", 1)
        assert sentence in refused.stderr


@pytest.mark.parametrize("command", ["load", "unload", "remove"])
def test_where_nothing_runs_a_command_says_so_with_code_3(private_folder: Path, command: str) -> None:
    done = mlx_local(load_settings(home=private_folder / "home", port=1, audio_port=2), "models", command, "chat")
    assert done.returncode == 3
    assert "mlx-local up" in done.stderr
