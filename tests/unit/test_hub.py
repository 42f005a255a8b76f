"""A model is found only where all of its files are, and no network is asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.models.hub import STAMP, hub_cache, locate
from app.models.spec import ModelSpec, Task
from app.settings import Settings, load_settings

SPEC = ModelSpec(id="m", repo="org/name", tasks=(Task.CHAT,))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home", profile="starter")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, chosen as users choose it."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    return folder


def _write_model(folder: Path, *, shards: tuple[str, ...] = ("model.safetensors",), index: tuple[str, ...] = ()) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    for shard in shards:
        (folder / shard).write_bytes(b"")
    if index:
        weight_map = {f"layer.{number}": name for number, name in enumerate(index)}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    return folder


def _snapshot(cache: Path, commit: str) -> Path:
    return cache / "models--org--name" / "snapshots" / commit


def _point_main_at(cache: Path, commit: str) -> None:
    refs = cache / "models--org--name" / "refs"
    refs.mkdir(parents=True, exist_ok=True)
    (refs / "main").write_text(commit, encoding="utf-8")


def test_nothing_is_found_in_an_empty_cache(settings: Settings, cache: Path) -> None:
    assert locate(SPEC, settings) is None


def test_the_snapshot_of_main_is_found(settings: Settings, cache: Path) -> None:
    whole = _write_model(_snapshot(cache, "abc"))
    _write_model(_snapshot(cache, "def"))
    _point_main_at(cache, "abc")
    assert locate(SPEC, settings) == whole


def test_while_main_arrives_the_older_snapshot_serves(settings: Settings, cache: Path) -> None:
    older = _write_model(_snapshot(cache, "abc"))
    _write_model(_snapshot(cache, "def"), shards=())
    _point_main_at(cache, "def")
    assert locate(SPEC, settings) == older


def test_a_snapshot_that_lacks_a_shard_of_its_index_does_not_count(settings: Settings, cache: Path) -> None:
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    folder = _write_model(_snapshot(cache, "abc"), shards=names[:1], index=names)
    assert locate(SPEC, settings) is None
    (folder / names[1]).write_bytes(b"")
    assert locate(SPEC, settings) == folder


def test_a_link_to_a_blob_that_is_not_there_does_not_count(settings: Settings, cache: Path) -> None:
    folder = _write_model(_snapshot(cache, "abc"), shards=())
    (folder / "model.safetensors").symlink_to(cache / "blobs" / "missing")
    assert locate(SPEC, settings) is None


def test_weights_without_a_configuration_do_not_count(settings: Settings, cache: Path) -> None:
    (_write_model(_snapshot(cache, "abc")) / "config.json").unlink()
    assert locate(SPEC, settings) is None


def test_what_we_converted_comes_before_the_cache(settings: Settings, cache: Path) -> None:
    _write_model(_snapshot(cache, "abc"))
    own = _write_model(settings.models_dir / "m")
    (own / STAMP).write_text(json.dumps({"repo": "org/name"}), encoding="utf-8")
    assert locate(SPEC, settings) == own


def test_what_was_converted_from_another_repository_is_another_model(settings: Settings, cache: Path) -> None:
    own = _write_model(settings.models_dir / "m")
    (own / STAMP).write_text(json.dumps({"repo": "org/other"}), encoding="utf-8")
    assert locate(SPEC, settings) is None


def test_a_directory_of_the_catalog_is_the_model(settings: Settings, cache: Path, tmp_path: Path) -> None:
    spec = ModelSpec(id="m", repo=str(tmp_path / "mine"), tasks=(Task.CHAT,))
    assert locate(spec, settings) is None
    whole = _write_model(tmp_path / "mine")
    assert locate(spec, settings) == whole


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({}, "/user/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_other_tools_have_it(monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], expected: str) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/user")
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    assert hub_cache() == Path(expected)


def test_reading_the_catalog_and_finding_models_loads_no_heavy_library() -> None:
    heavy = "{'huggingface_hub', 'mlx', 'numpy', 'safetensors', 'tokenizers', 'transformers'}"
    program = f"import sys, app.models.catalog, app.models.hub, app.models.starter; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
