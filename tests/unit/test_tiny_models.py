"""The tiny models that other tests stand on are whole, and building them leaves this process without mlx."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.models.hub import is_complete

TinyModel = Callable[[str], Path]


@pytest.mark.parametrize(
    "name", ["qwen3-f32", "qwen3_5-4bit", "qwen3_5_moe-f32", "qwen3_vl", "qwen3_embedding-f32", "bert-f32", "qwen3_tts-f32"]
)
def test_a_tiny_model_has_every_file_of_a_real_one(tiny_model: TinyModel, name: str) -> None:
    folder = tiny_model(name)
    assert is_complete(folder)
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    added = {token["id"] for token in vocabulary["added_tokens"]}
    assert max(added | set(vocabulary["model"]["vocab"].values())) == 511


def test_building_does_not_load_mlx_here(tiny_model: TinyModel) -> None:
    before = "mlx.core" in sys.modules
    tiny_model("qwen3")
    assert ("mlx.core" in sys.modules) == before
