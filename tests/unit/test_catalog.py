"""A name means one model, roles follow the profile, and a broken catalog is told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import InvalidSetting, NoModelForRole, UnknownModel, UnsupportedTask
from app.models.catalog import Catalog, load_catalog
from app.models.spec import Task
from app.settings import load_settings


@pytest.fixture
def builtin(tmp_path: Path) -> Catalog:
    return _load(tmp_path, profile="16gb")


def _load(folder: Path, yours: str | None = None, profile: str = "starter") -> Catalog:
    """The catalog of an empty home, with *yours* over the built-in one."""
    file = None
    if yours is not None:
        file = folder / "catalog.toml"
        file.write_text(yours, encoding="utf-8")
    return load_catalog(load_settings(home=folder, profile=profile, catalog=file))


def _refusal(folder: Path, yours: str) -> str:
    with pytest.raises(InvalidSetting) as caught:
        _load(folder, yours)
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("name", "task", "repo"),
    [
        ("qwen3-embedding-0.6b", Task.EMBEDDING, "mlx-community/Qwen3-Embedding-0.6B-4bit-DWQ"),
        ("qwen3-embedding-0.6b-4bit", Task.EMBEDDING, "mlx-community/Qwen3-Embedding-0.6B-4bit-DWQ"),
        ("qwen3-embedding-4b", Task.EMBEDDING, "mlx-community/Qwen3-Embedding-4B-4bit-DWQ"),
        ("qwen3-14b", Task.CHAT, "mlx-community/Qwen3-14B-4bit"),
        ("Qwen3-14B-4bit", Task.CHAT, "mlx-community/Qwen3-14B-4bit"),
        ("mlx-community/Qwen3.5-35B-A3B-4bit", Task.VISION, "mlx-community/Qwen3.5-35B-A3B-4bit"),
        ("QWEN3.5-35B", Task.CHAT, "mlx-community/Qwen3.5-35B-A3B-4bit"),
        ("gemma-3-12b", Task.CHAT, "mlx-community/gemma-3-text-12b-it-4bit"),
        ("paddleocr-vl-6bit", Task.OCR, "mlx-community/PaddleOCR-VL-1.5-6bit"),
        ("paddleocr-vl-8bit", Task.OCR, "mlx-community/PaddleOCR-VL-1.5-8bit"),
        ("Qwen3-ASR-1.7B-8bit", Task.ASR, "mlx-community/Qwen3-ASR-1.7B-8bit"),
        ("mlx-community/Qwen3-ASR-1.7B-8bit", Task.ASR, "mlx-community/Qwen3-ASR-1.7B-8bit"),
        ("Qwen3-TTS", Task.TTS, "mlx-community/Qwen3-TTS-12Hz-1.7B-CustomVoice-8bit"),
        ("whisper-large-v3-turbo", Task.ASR, "mlx-community/whisper-large-v3-turbo-asr-fp16"),
        (" smollm2-135m-instruct ", Task.CHAT, "HuggingFaceTB/SmolLM2-135M-Instruct"),
    ],
)
def test_every_name_that_users_know_finds_its_model(builtin: Catalog, name: str, task: Task, repo: str) -> None:
    assert builtin.resolve(name, task).repo == repo


def test_a_misspelt_role_is_told_as_the_role(builtin: Catalog) -> None:
    with pytest.raises(UnknownModel) as caught:
        builtin.resolve("chta", Task.CHAT)
    assert caught.value.nearest[0] == "chat"


def test_an_unknown_name_is_told_with_the_nearest_ones(builtin: Catalog) -> None:
    with pytest.raises(UnknownModel) as caught:
        builtin.resolve("qwen3-14", Task.CHAT)
    assert caught.value.nearest[0] == "qwen3-14b"


def test_a_hub_name_under_the_wrong_organisation_is_told_the_right_model(builtin: Catalog) -> None:
    with pytest.raises(UnknownModel) as caught:
        builtin.resolve("somebody/Qwen3-14B-4bit", Task.CHAT)
    assert caught.value.nearest[0] == "qwen3-14b"
    assert "models pull somebody/Qwen3-14B-4bit" in caught.value.message


def test_a_model_is_not_asked_for_what_it_cannot_do(builtin: Catalog) -> None:
    with pytest.raises(UnsupportedTask, match=r"qwen3-14b.*embedding.*does chat"):
        builtin.resolve("qwen3-14b", Task.EMBEDDING)


@pytest.mark.parametrize(("profile", "model"), [("starter", "smollm2-135m-instruct"), ("16gb", "qwen3-14b"), ("32GB", "qwen3.5-35b")])
def test_the_profile_says_who_answers_when_none_is_named(tmp_path: Path, profile: str, model: str) -> None:
    catalog = _load(tmp_path, profile=profile)
    assert catalog.resolve(None, Task.CHAT).id == catalog.resolve("chat", Task.CHAT).id == model


def test_a_profile_restricts_nothing(tmp_path: Path) -> None:
    assert _load(tmp_path, profile="starter").resolve("qwen3.5-35b", Task.CHAT).id == "qwen3.5-35b"


def test_a_role_without_a_model_says_which_to_pull(tmp_path: Path) -> None:
    with pytest.raises(NoModelForRole, match=r"'ocr'.*pull paddleocr-vl-6bit`"):
        _load(tmp_path, profile="starter").resolve("ocr", Task.OCR)


def test_the_only_model_that_ranks_does_so_unless_the_role_is_anothers(tmp_path: Path) -> None:
    catalog = _load(tmp_path)
    assert catalog.resolve(None, Task.RERANK).id == catalog.resolve("rerank", Task.RERANK).id == "qwen3-reranker-0.6b"
    own = '[[model]]\nid = "own"\nrepo = "me/own"\ntasks = ["rerank"]\n'
    with pytest.raises(NoModelForRole, match=r"name one .*qwen3-reranker-0\.6b.*own"):
        _load(tmp_path, own).resolve(None, Task.RERANK)
    assert _load(tmp_path, f'{own}[roles]\nrerank = "own"\n').resolve(None, Task.RERANK).id == "own"


def test_where_nothing_ranks_it_is_told_how_to_get_something_that_does() -> None:
    with pytest.raises(NoModelForRole, match=r"models pull mlx-community/Qwen3-Reranker-0\.6B-4bit` gets one"):
        Catalog({}, {}).resolve(None, Task.RERANK)


def test_embedding_and_speech_recognition_are_resident_and_the_rest_loads_on_demand(tmp_path: Path) -> None:
    catalog = _load(tmp_path, profile="16gb")
    assert {spec.id for spec in catalog if spec.residency == "always"} == {"qwen3-embedding-0.6b", "qwen3-asr-1.7b"}


def test_a_profile_that_does_not_exist_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"MLX_LOCAL_PROFILE: .*'64gb'; choose auto, starter, 16gb, 32gb"):
        _load(tmp_path, profile="64gb")


def test_an_entry_of_yours_replaces_the_one_of_that_id(tmp_path: Path) -> None:
    yours = '[[model]]\nid = "Qwen3-14B"\nrepo = "me/mine"\ntasks = ["chat"]\nslots = 2\n'
    catalog = _load(tmp_path, yours)
    spec = catalog.resolve("qwen3-14b", Task.CHAT)
    assert (spec.id, spec.repo, spec.slots) == ("Qwen3-14B", "me/mine", 2)
    with pytest.raises(UnknownModel):
        catalog.resolve("mlx-community/Qwen3-14B-4bit", Task.CHAT)


def test_a_role_of_yours_comes_before_the_profiles_and_is_resident_with_it(tmp_path: Path) -> None:
    yours = '[[model]]\nid = "own"\nrepo = "me/own"\ntasks = ["embedding"]\n[roles]\nembedding = "OWN"\n'
    catalog = _load(tmp_path, yours)
    assert catalog.resolve(None, Task.EMBEDDING).id == "own"
    assert catalog.get("own").residency == "always"
    assert catalog.get("all-minilm-l6-v2").residency == "on-demand"


def test_what_an_entry_says_of_its_residency_holds(tmp_path: Path) -> None:
    yours = '[[model]]\nid = "own"\nrepo = "me/own"\ntasks = ["asr"]\nresidency = "on-demand"\n[roles]\nasr = "own"\n'
    assert _load(tmp_path, yours).get("own").residency == "on-demand"


def test_a_directory_is_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "tuned").mkdir()
    catalog = _load(tmp_path, '[[model]]\nid = "tuned"\nrepo = "tuned"\ntasks = ["chat"]\n')
    assert catalog.get("tuned").directory == (tmp_path / "tuned").resolve()


def test_two_models_of_one_repository_are_told_apart_by_their_ids(tmp_path: Path) -> None:
    catalog = _load(tmp_path, '[[model]]\nid = "long"\nrepo = "mlx-community/Qwen3-14B-4bit"\ntasks = ["chat"]\ncontext = 40000\n')
    assert catalog.resolve("long", Task.CHAT).context == 40000
    assert catalog.resolve("qwen3-14b", Task.CHAT).context is None
    with pytest.raises(UnknownModel):
        catalog.resolve("mlx-community/Qwen3-14B-4bit", Task.CHAT)


@pytest.mark.parametrize(
    ("yours", "told"),
    [
        ("[[model]\n", ["catalog.toml"]),
        ("[[models]]\nid = 1\n", ["catalog.toml", "'models'"]),
        ('[[model]]\nid = "x"\ntasks = ["chat"]\n', ["model 'x'", "'repo'", "required"]),
        ('[[model]]\nrepo = "a/b"\ntasks = ["chat"]\n', ["model 'number 1'", "'id'"]),
        ('[[model]]\nid = "x"\nrepo = "a/b"\ntasks = ["sing"]\n', ["model 'x'", "'tasks.0'", "'sing'"]),
        ('[[model]]\nid = "x"\nrepo = "a/b"\ntasks = ["chat"]\nmemory = "lots"\n', ["model 'x'", "'memory'", "'lots'"]),
        ('[[model]]\nid = "x"\nrepo = "a/b"\ntasks = ["chat"]\nslts = 1\n', ["model 'x'", "'slts'"]),
        ('[[model]]\nid = "x"\nrepo = "a b"\ntasks = ["chat"]\n', ["model 'x'", "'repo'", "neither"]),
        ('[[model]]\nid = "x"\nrepo = "a/b"\ntasks = ["chat"]\naliases = ["QWEN3-tts"]\n', ["model 'x'", "'aliases'", "'qwen3-tts'"]),
        ('[[model]]\nid = "x"\nrepo = "a/b"\ntasks = ["chat"]\naliases = ["OCR"]\n', ["model 'x'", "'aliases'", "role"]),
        (2 * '[[model]]\nid = "x"\nrepo = "a/b"\ntasks = ["chat"]\n', ["model 'x'", "'id'", "same id"]),
        ('[roles]\nchat = "nobody"\n', ["'roles.chat'", "'nobody'"]),
        ('[roles]\nchat = "qwen3-tts"\n', ["model 'qwen3-tts'", "'roles.chat'", "'chat'"]),
        ('[roles]\nsinger = "qwen3-tts"\n', ["'roles.singer'", "no such role"]),
    ],
)
def test_a_broken_catalog_is_told_in_one_line_that_names_the_place(tmp_path: Path, yours: str, told: list[str]) -> None:
    message = _refusal(tmp_path, yours)
    assert str(tmp_path / "catalog.toml") in message
    assert [part for part in told if part not in message] == []


def test_a_catalog_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"nowhere\.toml: No such file"):
        load_catalog(load_settings(home=tmp_path, profile="starter", catalog=tmp_path / "nowhere.toml"))
