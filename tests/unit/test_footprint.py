"""Footprints, from configurations and headers alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.footprint import Footprint, footprint_of, read_footprint
from app.models.spec import Task
from app.models.tensors import bytes_by_type, fingerprint
from tests.published import PUBLISHED

SHAPE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100}


def prints(config: dict[str, Any] | None = None, *, cpu: bool = False, **stored: int) -> Footprint:
    return footprint_of(SHAPE | (config or {}), stored or {"BF16": 1000}, [Task.CHAT], 4096, cpu=cpu)


def write_tensors(file: Path, **tensors: tuple[str, int]) -> None:
    header, begin = {}, 0
    for name, (kind, size) in tensors.items():
        header[name] = {"dtype": kind, "shape": [size], "data_offsets": [begin, begin + size]}
        begin += size
    text = json.dumps({"__metadata__": {"format": "mlx"}, **header}).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(begin))


def test_tensors_of_every_file_count_and_those_of_parts_in_folders_of_their_own(tmp_path: Path) -> None:
    write_tensors(tmp_path / "model-1.safetensors", a=("U32", 400), b=("BF16", 40))
    write_tensors(tmp_path / "model-2.safetensors", c=("BF16", 60))
    write_tensors(tmp_path / "speech_tokenizer" / "model.safetensors", d=("F32", 24))
    write_tensors(tmp_path / "consolidated.safetensors", a=("BF16", 9000))
    assert bytes_by_type(tmp_path) == {"U32": 400, "BF16": 100, "F32": 24}


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, (9).to_bytes(8, "little") + b"[1, 2, 3]" + bytes(9)])
def test_a_file_that_cannot_be_read_counts_whole(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert sum(bytes_by_type(tmp_path).values()) == len(content)


def test_another_quantisation_has_another_fingerprint(tmp_path: Path) -> None:
    for name, size in (("4bit", 400), ("8bit", 800), ("again", 400)):
        write_tensors(tmp_path / name / "model.safetensors", a=("U32", size))
        (tmp_path / name / "config.json").write_text(json.dumps(SHAPE))
    names = {name: fingerprint(tmp_path / name) for name in ("4bit", "8bit", "again")}
    assert names["4bit"] == names["again"] != names["8bit"]


def test_a_folder_is_read_as_its_configuration_and_its_headers(tmp_path: Path) -> None:
    write_tensors(tmp_path / "model.safetensors", a=("BF16", 1000))
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    assert read_footprint(tmp_path, [Task.CHAT], 4096, cpu=False) == prints()


def test_a_cpu_gets_floats_of_four_bytes_and_packed_weights_as_they_are() -> None:
    assert prints(U32=400, BF16=100, F32=40).weights_bytes == 540
    assert prints(cpu=True, U32=400, BF16=100, F32=40).weights_bytes == 640
    assert prints(cpu=True).kv_bytes_per_token == 2 * prints().kv_bytes_per_token == 2 * 2 * 2 * 2 * 16 * 2


def test_a_hybrid_keeps_keys_in_every_fourth_layer_and_a_state_that_does_not_grow() -> None:
    hybrid = PUBLISHED["qwen3.5-35b"].footprint
    assert hybrid.kv_bytes_per_token == 10 * 2 * 2 * 256 * 2
    state = 30 * (32 * 128 * 128 * 4 + 3 * (2 * 16 * 128 + 32 * 128) * 2)
    assert hybrid.state_bytes_per_request == state
    assert hybrid.kv_bytes(100, rows=8) >= 8 * state


def test_a_window_bounds_what_a_layer_keeps() -> None:
    gemma = PUBLISHED["gemma-3-12b"].footprint
    grown = (gemma.kv_bytes(40_000) - gemma.kv_bytes(20_000)) / 20_000
    assert grown == pytest.approx((8 + 1) * 2 * 8 * 256 * 2)  # the eight layers that see everything, and one of them twice


def test_what_only_embeds_keeps_nothing_of_a_request() -> None:
    embedding = PUBLISHED["qwen3-embedding-0.6b"].footprint
    assert embedding.one_request_bytes(3000, 0) == 0
    assert embedding.load_need_bytes == embedding.weights_bytes + embedding.activation_bytes


def test_a_model_that_judges_makes_logits_of_many_rows_at_once_and_one_with_a_head_does_not() -> None:
    shape = SHAPE | {"vocab_size": 150_000}
    embeds, judges = (footprint_of(shape, {"BF16": 1000}, [task], 4096, cpu=False) for task in (Task.EMBEDDING, Task.RERANK))
    classified = shape | {"architectures": ["BertForSequenceClassification"]}
    classifies = footprint_of(classified, {"BF16": 1000}, [Task.RERANK], 4096, cpu=False)
    assert classifies == embeds
    assert judges.activation_bytes - embeds.activation_bytes >= 85 * 150_000 * 2  # rows of a slice at 96 tokens each
    assert judges.one_request_bytes(3000, 0) == 0


@pytest.mark.parametrize("part", ["text_config", "talker_config"])
def test_figures_are_found_where_models_with_eyes_or_ears_nest_them(part: str) -> None:
    nested = footprint_of({"model_type": "x", part: SHAPE}, {"BF16": 1000}, [Task.CHAT], 4096, cpu=False)
    deep = footprint_of({"model_type": "x", "thinker_config": {part: SHAPE}}, {"BF16": 1000}, [Task.CHAT], 4096, cpu=False)
    assert nested == deep == prints()


def test_a_configuration_without_figures_still_has_its_weights() -> None:
    bare = footprint_of({}, {"BF16": 1000}, [Task.CHAT], 4096, cpu=False)
    assert (bare.weights_bytes, bare.kv_bytes(100)) == (1000, 0)


MODELS = st.sampled_from(list(PUBLISHED))
TOKENS = st.integers(1, 20_000)


@given(model=MODELS, tokens=TOKENS, rows=st.integers(1, 32), more=st.integers(0, 500), prompt=TOKENS)
def test_more_never_takes_less_and_pieces_stay_within_the_estimate(model: str, tokens: int, rows: int, more: int, prompt: int) -> None:
    needs = PUBLISHED[model].footprint
    assert needs.kv_bytes(tokens, rows) <= needs.kv_bytes(tokens + more, rows) <= needs.kv_bytes(tokens + more, rows + 1)
    assert needs.kv_bytes(tokens, rows) >= rows * tokens * needs.kv_bytes_per_token or any(group.window for group in needs.layers)
    piece = needs.piece_tokens(prompt)
    assert piece >= 1
    assert needs.most_pairs is None or piece * prompt <= needs.most_pairs or piece == 1
