"""Models of random weights in the shapes of real ones, in the real on-disk format: they cost what the real ones cost, and mean nothing.

The figures of each shape are those of the published ``config.json``:
``Qwen/Qwen3-0.6B`` and, quantised to 4 bits in groups of 64,
``mlx-community/Qwen3-14B-4bit``. The tokenizer has as many tokens as Qwen's
(151,936 rows), bytes first; nothing is downloaded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

__all__ = ["SHAPES", "make_model"]

_VOCAB = 151_936
_COMMON: Mapping[str, Any] = MappingProxyType(
    {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": _VOCAB,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 40_960,
        "rope_theta": 1_000_000,
        "rope_scaling": None,
        "attention_bias": False,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
    }
)
_QUANTISED = {"quantization": {"group_size": 64, "bits": 4}}
SHAPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "qwen3-0.6b": {
            **_COMMON, "hidden_size": 1024, "num_hidden_layers": 28, "intermediate_size": 3072, "num_attention_heads": 16,
            "tie_word_embeddings": True,
        },
        "qwen3-14b-4bit": {
            **_COMMON, "hidden_size": 5120, "num_hidden_layers": 40, "intermediate_size": 17_408, "num_attention_heads": 40,
            "tie_word_embeddings": False, **_QUANTISED,
        },
    }
)  # fmt: skip
"""Name -> ``config.json``."""

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TEMPLATE = """{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"""
_SHARD_BYTES = 1024**3


def make_model(name: str, folder: Path) -> Path:
    """Write the model *name* of :data:`SHAPES` into *folder*, on the device that MLX has, and return *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    config = dict(SHAPES[name])
    ids = _write_tokenizer(folder)
    # The end token is one of many that are equally likely: answers reach their limit.
    config |= {"eos_token_id": ids["<|im_end|>"], "bos_token_id": ids["<|endoftext|>"]}
    _write_weights(folder, config)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": config["eos_token_id"], "do_sample": False}))
    return folder


def _write_weights(folder: Path, config: Mapping[str, Any]) -> None:
    import mlx.core as mx
    from mlx import nn
    from mlx.utils import tree_flatten
    from mlx_lm.models.qwen3 import Model, ModelArgs

    mx.random.seed(0)
    model = Model(ModelArgs.from_dict(dict(config)))
    model.set_dtype(mx.bfloat16)
    if quantised := config.get("quantization"):
        nn.quantize(model, **quantised)
    shards: list[dict[str, Any]] = [{}]
    size = 0
    for name, array in cast("list[tuple[str, mx.array]]", tree_flatten(model.parameters())):
        if size > _SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = array
        size += array.nbytes
    del model
    names: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        names |= dict.fromkeys(shard, file)
        mx.save_safetensors(str(folder / file), shard, metadata={"format": "mlx"})
        shard.clear()  # evaluated and written: let it go
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


def _write_tokenizer(folder: Path) -> dict[str, int]:
    """Write a byte-level tokenizer without merges, filled up with words to the size of the vocabulary; return the special ids."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"Ġw{number}" for number in range(_VOCAB - len(letters) - len(_SPECIAL)))]
    tokenizer = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "model_max_length": 40_960}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    (folder / "chat_template.jinja").write_text(_TEMPLATE)
    return {token: len(words) + number for number, token in enumerate(_SPECIAL)}


if __name__ == "__main__":
    make_model(sys.argv[1], Path(sys.argv[2]))
