"""What the converters write is what the original files hold, under the hub's names and in its order."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import pytest
from safetensors import deserialize
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from app.models.convert_ct2 import read_ct2
from app.models.convert_gguf import convert_gguf

HEADS, KV_HEADS, WIDTH, HEAD = 4, 2, 32, 8
_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b", "ab", "Ġ", "1", "2"]

Array = npt.NDArray[Any]


def _random(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def _interleaved(weight: Array, heads: int) -> Array:
    """The order in which llama.cpp keeps a head's rotary rows."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A llama GGUF of one layer with SmolLM's kind of tokenizer."""
    file = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(100000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(_TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(_TOKENS)
    writer.add_token_types([3, 3, 3] + [1] * (len(_TOKENS) - 3))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{{ messages }}")
    writer.add_tensor("token_embd.weight", _random(len(_TOKENS), WIDTH))
    writer.add_tensor("blk.0.attn_q.weight", _interleaved(_random(HEADS * HEAD, WIDTH), HEADS))
    writer.add_tensor("blk.0.attn_k.weight", _interleaved(_random(KV_HEADS * HEAD, WIDTH), KV_HEADS))
    writer.add_tensor(
        "blk.0.ffn_down.weight", gguf.quantize(_random(WIDTH, 64), gguf.GGMLQuantizationType.Q4_1), raw_dtype=gguf.GGMLQuantizationType.Q4_1
    )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _converted(source: Path, dtype: str) -> Path:
    out = source.parent / dtype
    out.mkdir()
    convert_gguf(source, out, dtype)
    return out


def test_gguf_weights_come_out_in_the_hubs_order(source: Path) -> None:
    weights = load_file(_converted(source, "float32") / "model.safetensors")
    np.testing.assert_array_equal(weights["model.embed_tokens.weight"], _random(len(_TOKENS), WIDTH))
    np.testing.assert_array_equal(weights["model.layers.0.self_attn.q_proj.weight"], _random(HEADS * HEAD, WIDTH))
    np.testing.assert_array_equal(weights["model.layers.0.self_attn.k_proj.weight"], _random(KV_HEADS * HEAD, WIDTH))
    np.testing.assert_allclose(weights["model.layers.0.mlp.down_proj.weight"], _random(WIDTH, 64), atol=0.25)


def test_bfloat16_weights_are_the_nearest_ones(source: Path) -> None:
    stored = dict(deserialize((_converted(source, "bfloat16") / "model.safetensors").read_bytes()))
    embedding = stored["model.embed_tokens.weight"]
    assert embedding["dtype"] == "BF16"
    widened = (np.frombuffer(embedding["data"], np.uint16).astype(np.uint32) << 16).view(np.float32)
    exact = _random(len(_TOKENS), WIDTH).ravel()
    np.testing.assert_array_less(np.abs(widened - exact), np.abs(exact) / 256 + 1e-30)


def test_an_answer_ends_with_the_turn_or_with_the_text(source: Path) -> None:
    out = _converted(source, "float32")
    generation = json.loads((out / "generation_config.json").read_text(encoding="utf-8"))
    assert generation["eos_token_id"] == [2, 0]
    assert generation["do_sample"] is False
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))["tie_word_embeddings"] is True


def test_the_tokenizer_merges_letters_and_keeps_digits_apart(source: Path) -> None:
    tokenizer = Tokenizer.from_file(str(_converted(source, "float32") / "tokenizer.json"))
    assert tokenizer.encode("<|im_start|>ab 12").tokens == ["<|im_start|>", "ab", "Ġ", "1", "2"]


def test_another_kind_of_gguf_is_refused(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", "qwen2")
    writer.add_tokenizer_pre("qwen2")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ValueError, match=r"other\.gguf holds \('qwen2', 'qwen2'\)"):
        convert_gguf(tmp_path / "other.gguf", tmp_path, "float32")


def _text(value: str) -> bytes:
    raw = value.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def test_a_ctranslate2_file_is_read_with_its_aliases() -> None:
    values = np.arange(6, dtype=np.float16).reshape(2, 3)
    entry = _text("a/weight") + struct.pack("<BIIBI", 2, 2, 3, 4, values.nbytes) + values.tobytes()
    blob = (
        struct.pack("<I", 6)
        + _text("WhisperSpec")
        + struct.pack("<II", 3, 1)
        + entry
        + struct.pack("<I", 1)
        + _text("b/weight")
        + _text("a/weight")
    )
    kind, arrays = read_ct2(blob)
    assert kind == "WhisperSpec"
    np.testing.assert_array_equal(arrays["a/weight"], values)
    np.testing.assert_array_equal(arrays["b/weight"], values)


def test_a_ctranslate2_file_of_an_old_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format 4 is older than 5"):
        read_ct2(struct.pack("<I", 4))
