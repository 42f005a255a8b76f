"""A llama-architecture GGUF file -> a model folder in the hub's layout. numpy alone, no mlx.

Quantised tensors are widened: the file's four-bit blocks are not MLX's, and on
a CPU only float32 is fast. The tokenizer, the chat template and the special
tokens come out of the same file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import safetensors
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

__all__ = ["convert_gguf"]

_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CONTROL_TOKEN = 3  # gguf.TokenType.CONTROL, as the file stores it
# For requests that say nothing. The model card advises a temperature of 0.2, but these weights have 4 bits: at 0.2 four of
# 48 answers about the capital of France did not name Paris, and some went on for ever.
_SAMPLING = {"do_sample": False}

Array = npt.NDArray[np.float32]


def convert_gguf(source: Path, out: Path, dtype: str) -> None:
    """Convert *source*, a SmolLM2 GGUF, into the folder *out*.

    Args:
        source: The file.
        out: An existing folder.
        dtype: ``float32`` or ``bfloat16``, of the written weights.

    Raises:
        ValueError: The file holds another architecture or tokenizer.
    """
    reader = gguf.GGUFReader(source)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    found = (fields["general.architecture"], fields["tokenizer.ggml.pre"])
    if found != ("llama", "smollm"):
        message = f"{source.name} holds {found}, not a llama model with SmolLM's tokenizer"
        raise ValueError(message)
    weights = {_name(tensor.name): _values(tensor, fields) for tensor in reader.tensors}
    _save_weights(out / "model.safetensors", weights, dtype)
    _write_json(out / "config.json", _config(fields, dtype, tied="lm_head.weight" not in weights))
    _write_json(out / "generation_config.json", {**_SAMPLING, **_special_ids(fields)})
    _save_tokenizer(out, fields)


def _name(name: str) -> str:
    """Return the hub's name of a tensor: ``blk.3.attn_q.weight`` -> ``model.layers.3.self_attn.q_proj.weight``."""
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{_LAYER[parts[2]]}.{parts[3]}"
    return f"{_OUTER[parts[0]]}.{parts[1]}"


def _values(tensor: gguf.ReaderTensor, fields: Mapping[str, Any]) -> Array:
    shape = tuple(int(size) for size in reversed(tensor.shape))
    values = np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32).reshape(shape)
    heads = {"attn_q": "llama.attention.head_count", "attn_k": "llama.attention.head_count_kv"}
    key = heads.get(tensor.name.split(".")[-2])
    return values if key is None else _as_halves(values, int(fields[key]))


def _as_halves(weight: Array, heads: int) -> Array:
    """Undo GGUF's order of a head's rotary rows: pairs side by side there, two halves in the hub's layout."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _save_weights(file: Path, weights: Mapping[str, Array], dtype: str) -> None:
    stored = {name: np.ascontiguousarray(_bfloat16_bits(values) if dtype == "bfloat16" else values) for name, values in weights.items()}
    specs = {
        name: safetensors.TensorSpec(dtype=dtype, shape=list(values.shape), data_ptr=values.ctypes.data, data_len=values.nbytes)
        for name, values in stored.items()
    }
    safetensors.serialize_file(specs, file, metadata={"format": "mlx"})


def _bfloat16_bits(values: Array) -> npt.NDArray[np.uint16]:
    """Return the upper halves of float32 values, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _config(fields: Mapping[str, Any], dtype: str, *, tied: bool) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": fields["llama.embedding_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "rms_norm_eps": fields["llama.attention.layer_norm_rms_epsilon"],
        "vocab_size": fields["llama.vocab_size"],
        "max_position_embeddings": fields["llama.context_length"],
        "rope_theta": fields["llama.rope.freq_base"],
        "hidden_act": "silu",
        "tie_word_embeddings": tied,
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": dtype,
        **_special_ids(fields),
    }


def _special_ids(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tokens that begin, end and pad. The end of a document ends an answer as much as the end of a turn."""
    end_of_turn = int(fields["tokenizer.ggml.eos_token_id"])
    end_of_text = fields["tokenizer.ggml.tokens"].index("<|endoftext|>")
    return {
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": [end_of_turn, end_of_text],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
    }


def _save_tokenizer(out: Path, fields: Mapping[str, Any]) -> None:
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in fields["tokenizer.ggml.merges"])]
    tokenizer = Tokenizer(BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    kinds = zip(tokens, fields["tokenizer.ggml.token_type"], strict=True)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token, kind in kinds if kind == _CONTROL_TOKEN])
    tokenizer.save(str(out / "tokenizer.json"))
    named = {name: tokens[fields[f"tokenizer.ggml.{key}_token_id"]] for name, key in _NAMED_TOKENS.items()}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": fields["llama.context_length"],
        "chat_template": fields["tokenizer.chat_template"],
        **named,
    }
    _write_json(out / "tokenizer_config.json", config)


_NAMED_TOKENS = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}


def _write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
