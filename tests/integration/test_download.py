"""A repository comes whole, goes on where it was cut off, and what cannot come is told in a sentence, within seconds."""

from __future__ import annotations

import itertools
import random
import socket
import threading
from pathlib import Path

import pytest

from app.errors import DownloadFailed
from app.models.download import Download, DownloadProgress
from app.models.hub import is_complete
from app.settings import Settings, load_settings
from tests.hub_server import HubServer, Repo

REPO = "org/model"
WEIGHTS = random.Random(7).randbytes(12 * 1024**2)  # noqa: S311 - any bytes, but the same ones
OTHERS = {"README.md": b"hello", "pytorch_model.bin": b"x" * 10}
FILES = {"config.json": b"{}", "tokenizer.json": b'{"a": 1}', "model.safetensors": WEIGHTS, **OTHERS}
WANTED_BYTES = len(WEIGHTS) + 2 + 8


@pytest.fixture(autouse=True)
def model(hub: HubServer) -> None:
    """The model that the hub has."""
    hub.repos[REPO] = Repo(FILES)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home", profile="starter", min_free_disk=0)


def _download(settings: Settings, repo: str = REPO) -> tuple[Path, list[DownloadProgress]]:
    told: list[DownloadProgress] = []
    return Download(repo, settings, told.append).run(), told


def _failure(settings: Settings, repo: str = REPO) -> tuple[str, str]:
    with pytest.raises(DownloadFailed) as caught:
        _download(settings, repo)
    fact = caught.value.as_fact()
    return fact.code, fact.message


def test_a_model_arrives_whole_in_the_cache_that_everybody_uses(hub: HubServer, settings: Settings, tmp_path: Path) -> None:
    folder, told = _download(settings)
    assert is_complete(folder)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert folder.is_relative_to(tmp_path / "hf" / "hub" / "models--org--model")
    assert (folder.parents[1] / "refs" / "main").read_text() == folder.name
    assert (told[0].done_bytes, told[-1].done_bytes, told[-1].total_bytes) == (0, WANTED_BYTES, WANTED_BYTES)
    assert all(before.done_bytes <= after.done_bytes for before, after in itertools.pairwise(told))
    # What is there is not fetched again.
    assert _download(settings)[0] == folder
    assert hub.sent["model.safetensors"] == len(WEIGHTS)


def test_a_cut_connection_goes_on_where_it_was(hub: HubServer, settings: Settings) -> None:
    hub.repos[REPO] = Repo(FILES, sends_at_most=[5 * 1024**2, 5 * 1024**2])
    folder, _ = _download(settings)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.sent["model.safetensors"] <= len(WEIGHTS) + 2 * 1024**2


def test_an_address_that_has_expired_is_asked_for_anew(hub: HubServer, settings: Settings) -> None:
    hub.repos[REPO] = Repo(FILES, sends_at_most=[5 * 1024**2], then="expire")
    folder, _ = _download(settings)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.sent["model.safetensors"] <= len(WEIGHTS) + 1024**2


@pytest.mark.slow
@pytest.mark.parametrize(("then", "stall", "code"), [("stall", "2s", "download_stalled"), ("cut", "30s", "download_broken")])
def test_a_hub_that_never_sends_the_rest_is_given_up(hub: HubServer, settings: Settings, then: str, stall: str, code: str) -> None:
    hub.repos[REPO] = Repo(FILES, sends_at_most=[5 * 1024**2, *[0] * 100], then=then)
    chosen = settings.model_copy(update={"download_stall": load_settings(download_stall=stall).download_stall})
    assert _failure(chosen)[0] == code
    assert hub.lookups(REPO) == 6  # the one that brought something, and five that did not


def test_a_killed_download_goes_on_where_it_was(hub: HubServer, settings: Settings) -> None:
    hub.repos[REPO] = Repo(FILES, sends_at_most=[8 * 1024**2], then="stall")
    enough = threading.Event()
    download = Download(REPO, settings, lambda now: enough.set() if now.done_bytes > 7 * 1024**2 else None)
    ended: list[Exception] = []

    def run() -> None:
        try:
            download.run()
        except DownloadFailed as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert enough.wait(60)
    download.cancel()  # kills the process that fetches
    thread.join(30)
    assert [error.as_fact().code for error in ended if isinstance(error, DownloadFailed)] == ["download_canceled"]
    sent = hub.sent["model.safetensors"]
    folder, told = _download(settings)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert told[0].done_bytes > 7 * 1024**2
    assert hub.sent["model.safetensors"] - sent < 5 * 1024**2  # the rest, and no more
    assert not list(folder.parents[1].glob("blobs/*.incomplete"))


def test_what_was_put_together_wrongly_is_thrown_away_and_fetched_anew(hub: HubServer, settings: Settings, tmp_path: Path) -> None:
    folder, _ = _download(settings)
    blob = (folder / "model.safetensors").resolve()
    (folder / "model.safetensors").unlink()
    blob.rename(blob.with_name(f"{blob.name}.incomplete"))
    with blob.with_name(f"{blob.name}.incomplete").open("r+b") as content:
        content.write(b"rotten")
        content.truncate(6 * 1024**2)
    assert (_download(settings)[0] / "model.safetensors").read_bytes() == WEIGHTS


def test_a_download_that_stands_still_is_begun_anew(hub: HubServer, settings: Settings) -> None:
    hub.repos[REPO] = Repo(FILES, sends_at_most=[6 * 1024**2], then="stall")
    quick = settings.model_copy(update={"download_stall": load_settings(download_stall="2s").download_stall})
    folder, _ = _download(quick)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.lookups(REPO) == 2
    assert hub.sent["model.safetensors"] <= len(WEIGHTS) + 1024**2


def test_a_gated_repository_says_how_to_get_in(hub: HubServer, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos[REPO] = Repo(FILES, token="hf_right")
    code, message = _failure(settings)
    assert code == "repo_gated"
    assert f"{hub.endpoint}/{REPO}" in message
    assert "HF_TOKEN" in message
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert _failure(settings)[0] == "repo_gated"
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert is_complete(_download(settings)[0])
    # The other host, where large files come from, never sees the token.
    assert {token for host, token in hub.tokens if host == "localhost"} == {None}


def test_an_unknown_repository_is_told_at_once(hub: HubServer, settings: Settings) -> None:
    code, message = _failure(settings, "org/no-such-model")
    assert code == "repo_not_found"
    assert "'org/no-such-model'" in message
    assert hub.lookups("org/no-such-model") == 1


def test_no_network_is_told(hub: HubServer, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = listener.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{nobody}")
    code, message = _failure(settings)
    assert code == "hub_unreachable"
    assert f":{nobody}" in message


def test_a_repository_without_weights_is_no_model(hub: HubServer, settings: Settings) -> None:
    hub.repos[REPO] = Repo({"config.json": b"{}", "pytorch_model.bin": b"x"})
    assert "no safetensors" in _failure(settings)[1]
    hub.repos[REPO] = Repo({"config.json": b"{}", "part/other.safetensors": b"x"})
    assert "no model that can be loaded" in _failure(settings)[1]


def test_a_full_disk_is_told_before_anything_is_fetched(hub: HubServer, settings: Settings) -> None:
    code, message = _failure(settings.model_copy(update={"min_free_disk": 2**62}))
    assert code == "insufficient_disk"
    assert "0.0 GB more of disk" in message
    assert not hub.sent


def test_offline_mode_asks_nobody(hub: HubServer, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert _failure(settings)[0] == "hub_offline"
    assert not hub.asked
