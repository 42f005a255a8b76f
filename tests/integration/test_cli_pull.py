"""``models pull`` without a server, and the script of the home: models arrive, and what is wrong is a sentence."""

from __future__ import annotations

import ast
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.cli.home_files import write_home_files
from app.models.catalog import load_catalog
from app.models.hub import hub_cache, locate
from app.models.removal import remove_files
from app.settings import Settings, load_settings
from tests.hub_server import HubServer, Repo, tiny_repo
from tests.integration.command import COMMAND, environment, mlx_local

CONFIG = b'{"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}'
MODEL = Repo({"config.json": CONFIG, "model.safetensors": b"weights" * 300_000})
_CATALOG = """
[[model]]
id = "first"
repo = "org/first"
tasks = ["chat", "asr"]

[[model]]
id = "second"
repo = "org/second"
tasks = ["embedding"]

[[model]]
id = "folder"
repo = "./nothing-there"
tasks = ["chat"]

[roles]
chat = "first"
asr = "first"
embedding = "second"
"""


@pytest.fixture
def home_settings(private_folder: Path) -> Settings:
    """Settings of a home where nothing runs."""
    (private_folder / "nothing-there").mkdir()
    catalog = private_folder / "catalog.toml"
    catalog.write_text(_CATALOG)
    return load_settings(home=private_folder / "home", port=1, audio_port=2, profile="starter", catalog=catalog)


def test_models_are_pulled_while_nothing_runs(hub: HubServer, home_settings: Settings) -> None:
    hub.repos["org/first"] = MODEL
    done = mlx_local(home_settings, "models", "pull", "FIRST")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("first is here: 0.00 GB in ")
    assert "first: 0.00 of 0.00 GB" in done.stdout
    again = mlx_local(home_settings, "models", "pull", "org/first")
    assert again.stdout == "The files of first are on this machine.\n"


def test_ctrl_c_ends_a_pull_and_the_next_one_goes_on(hub: HubServer, home_settings: Settings) -> None:
    weights = b"weights" * 1_000_000
    hub.repos["org/first"] = Repo({"config.json": CONFIG, "model.safetensors": weights}, sends_at_most=[5 * 1024**2], then="stall")
    with subprocess.Popen([*COMMAND, "models", "pull", "first"], env=environment(home_settings), stdout=subprocess.PIPE) as pulling:
        assert hub.stalled.wait(60)
        # What the server has sent may still be in sockets: the promise is about what has come to the disk.
        while sum(part.stat().st_size for part in hub_cache().rglob("*.incomplete")) < 4 * 1024**2:
            time.sleep(0.02)
        pulling.send_signal(signal.SIGINT)
        assert pulling.wait(60) == 130
    hub.repos["org/first"] = Repo({"config.json": CONFIG, "model.safetensors": weights})
    sent = hub.sent["model.safetensors"]
    assert mlx_local(home_settings, "models", "pull", "first").returncode == 0
    assert hub.sent["model.safetensors"] - sent < 3 * 1024**2


def test_a_model_that_no_catalog_lists_is_added_and_told_to_programs(
    hub: HubServer, home_settings: Settings, tiny_model: Callable[[str], Path]
) -> None:
    hub.repos["org/fresh"] = tiny_repo(tiny_model("qwen3-f32"))
    done = mlx_local(home_settings, "models", "pull", "org/fresh", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report.items() >= {"model": "fresh", "repo": "org/fresh"}.items()
    assert (Path(report["path"]) / "config.json").is_file()
    rows = {row["id"]: row for row in json.loads(mlx_local(home_settings, "models", "list", "--json").stdout)}
    assert rows["fresh"].items() >= {"tasks": ["chat"], "downloaded": True}.items()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["nobody/no-such-model"], 1, "has no model 'nobody/no-such-model', or it is private"),
        (["firts"], 1, "Did you mean first?"),
        (["folder"], 1, "put its files there"),
        ([], 2, "Name a model"),
    ],
)
def test_what_cannot_be_pulled_is_told_in_a_sentence(
    hub: HubServer, home_settings: Settings, words: list[str], code: int, sentence: str
) -> None:
    done = mlx_local(home_settings, "models", "pull", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr


def test_the_script_of_the_home_downloads_all_defaults(hub: HubServer, home_settings: Settings) -> None:
    hub.repos["org/first"] = hub.repos["org/second"] = MODEL
    write_home_files(home_settings.home)
    script = home_settings.home / "download_models.py"
    ast.parse(script.read_text(), feature_version=(3, 8))
    variables = environment(home_settings)
    del variables["MLX_LOCAL_HOME"]  # the script knows where it lies
    # -I and -S: as a Python that has none of our packages.
    done = subprocess.run([sys.executable, "-I", "-S", str(script)], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if " is here: " in line] != []
    catalog = load_catalog(home_settings)
    assert all(locate(catalog.get(name), home_settings) for name in ("first", "second"))


def test_a_models_files_are_removed_and_no_others(hub: HubServer, home_settings: Settings) -> None:
    hub.repos["org/first"] = hub.repos["org/second"] = MODEL
    assert mlx_local(home_settings, "models", "pull", "first", "second").returncode == 0
    catalog = load_catalog(home_settings)
    first, second = catalog.get("first"), catalog.get("second")
    assert remove_files(first, home_settings) == sum(map(len, MODEL.files.values()))
    assert locate(first, home_settings) is None
    assert locate(second, home_settings) is not None
    assert remove_files(first, home_settings) == 0
