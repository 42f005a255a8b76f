"""Voices on disk: every kind and precision, and folders that are no good."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import numpy as np
import pytest
from mlx_audio.tts.models.qwen3_tts.qwen3_tts import Model

from app.engines.speech_library import STREAMED, load_lazily
from app.errors import ModelLoadFailed
from tests.conformance.driver import run
from tests.conformance.speech import (
    frontend,
    recording,
)
from tests.conformance.subjects import Subject


@pytest.mark.parametrize("name", ["qwen3_tts", "qwen3_tts-4bit", "qwen3_tts_design", "qwen3_tts_base-4bit"])
def test_models_of_every_precision_and_kind_speak(tiny_model: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    half = frontend(tiny_model(name))
    request: dict[str, Any] = {"input": "Hello there.", "voice": "alloy"}
    if "design" in name:
        request["instructions"] = "A calm low voice."
    if "base" in name:
        request |= {"ref_audio": str(recording(tmp_path / "ref", 220)), "ref_rate": 24_000, "ref_text": "one two three"}
    prepared = half.prepare("w", "speech", request, seed=5)
    *slices, engine = half.open()
    assert slices
    assert engine is not None
    assert run(engine, prepared)["w"].spoken.samples > 0
    engine.close()


def test_a_codec_without_some_of_its_weights_is_no_voice(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    directory = tmp_path / "damaged"
    shutil.copytree(tiny_model("qwen3_tts-f32"), directory)
    file = directory / "speech_tokenizer" / "model.safetensors"
    weights = cast("dict[str, mx.array]", mx.load(str(file)))
    mx.save_safetensors(str(file), {name: value for name, value in weights.items() if "pre_transformer.norm" not in name})
    with pytest.raises(ModelLoadFailed, match=r"lacks 1 weights of the codec, decoder\.pre_transformer\.norm"):
        list(frontend(directory).open())


def test_a_folder_without_its_codec_is_no_voice(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    directory = tmp_path / "mute"
    shutil.copytree(tiny_model("qwen3_tts-f32"), directory)
    shutil.rmtree(directory / "speech_tokenizer")
    with pytest.raises(ModelLoadFailed, match="without its codec"):
        frontend(directory)


def test_a_voice_of_another_family_is_refused_by_name(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    directory = tmp_path / "other"
    shutil.copytree(tiny_model("qwen3_tts-f32"), directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"model_type": "kokoro"}))
    with pytest.raises(ModelLoadFailed, match="'kokoro', which cannot speak here"):
        frontend(directory)


def test_private_names_are_where_we_use_them(voice: Subject) -> None:
    model = cast("Any", load_lazily(voice.directory, {}, voice.tokenizer.encode))
    assert callable(Model._sample_token)  # noqa: SLF001
    assert model._icl_cache == {}  # noqa: SLF001
    names = {name for _, layer in model.speech_tokenizer.decoder.named_modules() for name in STREAMED if hasattr(layer, name)}
    assert names == set(STREAMED)
    # Nothing else in the codec remembers: a stream begun anew gives the same sound after another one.
    codes = mx.zeros((1, 4, 3), mx.int32)
    decoder = model.speech_tokenizer.decoder
    first = np.array(decoder.streaming_step(codes))
    for _, layer in decoder.named_modules():
        for name in STREAMED:
            if hasattr(layer, name):
                setattr(layer, name, None)
    np.testing.assert_array_equal(np.array(decoder.streaming_step(codes)), first)
