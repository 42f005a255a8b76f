"""What a model's folder says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.engines.checkpoint import Checkpoint
from app.engines.pooling import Pooling, pooling_of
from app.engines.registry import open_frontend
from app.errors import ModelLoadFailed
from app.models.spec import ModelSpec


def folder(tmp_path: Path, config: object, **others: object) -> Path:
    for name, content in {"config": config, **others}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "model.safetensors").touch()
    return tmp_path


def test_context_and_end_tokens_are_found_where_vision_models_nest_them(tmp_path: Path) -> None:
    config = {"model_type": "qwen3_5", "text_config": {"max_position_embeddings": 99, "eos_token_id": 7, "vocab_size": 500}}
    checkpoint = Checkpoint.read(folder(tmp_path, config, generation_config={"eos_token_id": [7, 8]}))
    assert (checkpoint.context, checkpoint.eos_token_ids, checkpoint.vocab_size) == (99, frozenset({7, 8}), 500)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ([], "not a JSON object"),
        ({}, "no model_type"),
        ({"model_type": "qwen3", "model_file": "evil.py"}, "not allowed"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named(tmp_path: Path, config: object, says: str) -> None:
    with pytest.raises(ModelLoadFailed, match=says):
        Checkpoint.read(folder(tmp_path, config))


def test_a_folder_that_is_no_model_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed, match=r"no config\.json"):
        Checkpoint.read(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    with pytest.raises(ModelLoadFailed, match=r"no \*\.safetensors"):
        Checkpoint.read(tmp_path)
    with pytest.raises(ModelLoadFailed, match="not a folder"):
        Checkpoint.read(tmp_path / "missing")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelLoadFailed, match="cannot be read"):
        Checkpoint.read(tmp_path)


@pytest.mark.parametrize("tasks", ["chat", "embedding"])
def test_an_architecture_that_no_library_knows_is_named(tmp_path: Path, tasks: str) -> None:
    spec = ModelSpec.model_validate({"id": "m", "repo": "m", "tasks": [tasks]})
    with pytest.raises(ModelLoadFailed, match="'perceptron'"):
        open_frontend(spec, folder(tmp_path, {"model_type": "perceptron"}))


def test_an_encoder_is_no_chat_model(tmp_path: Path) -> None:
    spec = ModelSpec.model_validate({"id": "m", "repo": "m", "tasks": ["chat"]})
    with pytest.raises(ModelLoadFailed, match="'bert'"):
        open_frontend(spec, folder(tmp_path, {"model_type": "bert"}))


def test_an_engine_that_there_is_not_is_named(tmp_path: Path) -> None:
    spec = ModelSpec.model_validate({"id": "m", "repo": "m", "tasks": ["rerank"], "engine": "guessing"})
    with pytest.raises(ModelLoadFailed, match="names the engine 'guessing'"):
        open_frontend(spec, folder(tmp_path, {"model_type": "qwen3"}))


def test_a_model_without_a_usable_tokenizer_is_named(tmp_path: Path) -> None:
    spec = ModelSpec.model_validate({"id": "m", "repo": "m", "tasks": ["chat"]})
    with pytest.raises(ModelLoadFailed, match="tokenizer"):
        open_frontend(spec, folder(tmp_path, {"model_type": "qwen3"}))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, Pooling.CLS),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, Pooling.MEAN),
        ({"pooling_mode_lasttoken": True}, Pooling.LAST),
        ({"pooling_mode": "mean"}, Pooling.MEAN),
    ],
)
def test_a_model_pools_as_its_own_configuration_says(tmp_path: Path, config: dict[str, object], expected: Pooling) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(config))
    assert pooling_of(Checkpoint.read(folder(tmp_path, {"model_type": "bert"}))) is expected


def test_a_model_that_says_nothing_of_pooling_pools_as_its_architecture_does(tmp_path: Path) -> None:
    assert pooling_of(Checkpoint.read(folder(tmp_path, {"model_type": "bert"}))) is Pooling.LIBRARY


def test_layers_after_pooling_are_left_to_the_library(tmp_path: Path) -> None:
    modules = [{"type": "sentence_transformers.models.Pooling"}, {"type": "sentence_transformers.models.Dense"}]
    assert pooling_of(Checkpoint.read(folder(tmp_path, {"model_type": "gemma3_text"}, modules=modules))) is Pooling.LIBRARY


@pytest.mark.parametrize("flags", [{"pooling_mode_max_tokens": True}, {"pooling_mode_cls_token": True, "pooling_mode_lasttoken": True}, {}])
def test_pooling_that_would_give_other_vectors_is_refused(tmp_path: Path, flags: dict[str, object]) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(flags))
    with pytest.raises(ModelLoadFailed, match="pools by"):
        pooling_of(Checkpoint.read(folder(tmp_path, {"model_type": "bert"})))
