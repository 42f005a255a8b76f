"""Loading: every published precision, and folders whose weights are no good."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from app.engines.protocols import Embedded, EmbeddingWork, Finished, Frontend, Sampling, TextWork, Work
from app.engines.registry import open_frontend
from app.errors import ModelLoadFailed
from app.models.spec import ModelSpec
from tests.conformance.driver import run
from tests.conformance.subjects import Subject

PRECISIONS = ("qwen3", "qwen3-4bit", "qwen3_5", "qwen3_5-4bit", "qwen3_5_moe-4bit", "qwen3_vl-4bit", "qwen3_embedding-4bit", "bert")


def frontend(directory: Path, task: str) -> Frontend:
    return open_frontend(ModelSpec.model_validate({"id": "tiny", "repo": "tiny", "tasks": [task]}), directory)


@pytest.mark.parametrize("name", PRECISIONS)
def test_models_of_every_precision_answer(tiny_model: Callable[[str], Path], name: str) -> None:
    embeds = name.startswith(("bert", "qwen3_embedding"))
    *_, engine = frontend(tiny_model(name), "embedding" if embeds else "chat").open()
    assert engine is not None
    work: list[Work] = [EmbeddingWork("e", ((5, 6, 7),))] if embeds else []
    work += [] if embeds else [TextWork(f"t{n}", (5, 6, 7, 8 + n), 6, Sampling(seed=1, temperature=float(n))) for n in range(2)]
    for outcome in run(engine, *work).values():
        assert isinstance(outcome.end, Embedded | Finished)
    engine.close()


@pytest.mark.parametrize("damage", ["cut in the header", "cut in the data", "of another shape"])
def test_weights_that_are_no_good_fail_the_load_and_leave_nothing(subject: Subject, tmp_path: Path, damage: str) -> None:
    directory = tmp_path / "damaged"
    shutil.copytree(subject.directory, directory)
    if damage == "of another shape":
        config = json.loads((directory / "config.json").read_text())
        config.get("text_config", config.get("talker_config", config))["intermediate_size"] = 96
        config.get("text_config", config)["moe_intermediate_size"] = 96
        (directory / "config.json").write_text(json.dumps(config))
    for file in directory.glob("*.safetensors"):
        content = file.read_bytes()
        kept = {"cut in the header": 40, "cut in the data": len(content) * 2 // 3}.get(damage, len(content))
        file.write_bytes(content[:kept])
    before = active_bytes()
    with pytest.raises(ModelLoadFailed, match="could not be loaded") as caught:
        list(frontend(directory, subject.kind).open())
    # The error is still held here, with all that it refers to.
    assert active_bytes() <= before
    assert caught.value.code == "model_load_failed"


def active_bytes() -> int:
    gc.collect()
    mx.synchronize()
    mx.clear_cache()
    return int(mx.get_active_memory())
