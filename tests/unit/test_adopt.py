"""A model of the hub that no catalog lists gets a name, its tasks and an entry; an entry of the user's comes before that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.errors import DownloadFailed, UnknownModel
from app.models.adopt import adopt, find_or_propose, tasks_of
from app.models.catalog import load_catalog
from app.models.live_catalog import LiveCatalog
from app.models.spec import Task
from app.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home", profile="starter")


def _model(folder: Path, **config: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_name_of_the_hub_is_proposed_and_a_name_of_the_catalog_found(settings: Settings) -> None:
    catalog = load_catalog(settings)
    assert find_or_propose("mlx-community/qwen3-14b-4bit", catalog) == ("qwen3-14b", "mlx-community/Qwen3-14B-4bit")
    assert find_or_propose("someone/New", catalog) == ("New", "someone/New")
    assert find_or_propose("someone/qwen3-14b", catalog) == ("someone--qwen3-14b", "someone/qwen3-14b")
    assert find_or_propose("someone/tts", catalog) == ("someone--tts", "someone/tts")
    for name in ("new", "a/b/c", "/etc/passwd", "../up", "https://x/y"):
        with pytest.raises(UnknownModel):
            find_or_propose(name, catalog)


@pytest.mark.parametrize(
    ("repo", "config", "tasks"),
    [
        ("a/Qwen3-8B-4bit", {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}, (Task.CHAT,)),
        ("a/Qwen3-Embedding-8B", {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}, (Task.EMBEDDING,)),
        ("a/bge-small", {"model_type": "bert", "architectures": ["BertModel"]}, (Task.EMBEDDING,)),
        ("a/bge-judge", {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}, (Task.RERANK,)),
        ("a/whisper-small", {"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]}, (Task.ASR,)),
        ("a/Qwen3-TTS-1.7B", {"model_type": "qwen3_tts"}, (Task.TTS,)),
        ("a/Qwen3-VL-2B", {"model_type": "qwen3_vl", "vision_config": {}}, (Task.CHAT, Task.VISION)),
        ("a/PaddleOCR-VL", {"model_type": "paddleocr_vl", "vision_config": {}}, (Task.OCR, Task.VISION)),
        ("a/gasret", {"architectures": None}, ()),
    ],
)
def test_what_a_model_can_do_is_read_from_its_configuration(
    tmp_path: Path, repo: str, config: dict[str, object], tasks: tuple[Task, ...]
) -> None:
    assert tasks_of(_model(tmp_path, **config), repo) == tasks


def test_what_was_pulled_is_known_from_then_on_without_a_restart(settings: Settings, tmp_path: Path) -> None:
    live = LiveCatalog(settings)
    folder = _model(tmp_path / "m", architectures=["Qwen3ForCausalLM"])
    for repo in ("someone/One", "someone/Two", "someone/One"):
        adopt(repo.partition("/")[2], repo, folder, settings)
    assert live.current.find("someone/one").id == "One"
    assert live.current.find("TWO").tasks == (Task.CHAT,)
    assert settings.pulled_catalog.read_text().count("[[model]]") == 2


def test_an_entry_of_the_users_comes_before_what_was_pulled(settings: Settings, tmp_path: Path) -> None:
    folder = _model(tmp_path / "m", architectures=["Qwen3ForCausalLM"])
    for name in ("same-id", "same-alias", "same-repo"):
        adopt(name, f"pulled/{name}", folder, settings)
    yours = tmp_path / "yours.toml"
    yours.write_text(
        """
        [[model]]
        id = "SAME-ID"
        repo = "yours/a"
        tasks = ["embedding"]
        [[model]]
        id = "b"
        repo = "pulled/same-repo"
        aliases = ["Same-Alias"]
        tasks = ["chat"]
        """
    )
    catalog = load_catalog(settings.model_copy(update={"catalog": yours}))
    assert catalog.find("same-id").repo == "yours/a"
    assert catalog.find("same-alias").id == catalog.find("pulled/same-repo").id == "b"


def test_a_classifier_of_pairs_ranks_whatever_else_its_folder_has(tmp_path: Path) -> None:
    folder = _model(tmp_path / "m", architectures=["BertForSequenceClassification"])
    (folder / "modules.json").write_text("[]")
    assert tasks_of(folder, "cross-encoder/ms-marco-MiniLM-L6-v2") == (Task.RERANK,)
    assert tasks_of(_model(tmp_path / "q", architectures=["Qwen3ForCausalLM"]), "someone/Qwen3-Reranker-4B-8bit") == (Task.RERANK,)


def test_a_model_that_says_nothing_of_itself_is_not_adopted(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="MLX_LOCAL_CATALOG"):
        adopt("x", "someone/x", _model(tmp_path / "m"), settings)
    assert not settings.pulled_catalog.exists()
