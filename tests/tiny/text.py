"""Tiny text models: Qwen3, Gemma 3, Llama, Qwen3-Embedding and BERT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.tiny.files import Precision, write_json, write_model
from tests.tiny.tokenizers import CONTEXT, VOCAB, bert_tokenizer, qwen_tokenizer

__all__ = ["bert", "bert_config", "gemma3", "generation_config", "llama", "qwen3", "qwen3_config", "qwen3_embedding"]

_WIDTH = 64


def qwen3(out: Path, precision: Precision) -> None:
    """A chat model with Qwen3's template, JSON tool calls and optional thinking."""
    from mlx_lm.models.qwen3 import Model, ModelArgs

    ids = qwen_tokenizer(out, "qwen3")
    config = qwen3_config(ids)
    write_model(out, Model(ModelArgs.from_dict(config)), config, precision)
    write_json(out / "generation_config.json", generation_config(ids))


def gemma3(out: Path, precision: Precision) -> None:
    """A chat model whose every second layer looks back 64 tokens and no further."""
    from mlx_vlm.models.gemma3_text import Model, ModelConfig

    ids = qwen_tokenizer(out, "plain")
    local = {"model_type": "gemma3_text", "num_hidden_layers": 4, "sliding_window": 64, "sliding_window_pattern": 2}
    config = qwen3_config(ids) | {"architectures": ["Gemma3ForCausalLM"], "query_pre_attn_scalar": 16, **local}
    write_model(out, Model(ModelConfig.from_dict(config)), config, precision)
    write_json(out / "generation_config.json", generation_config(ids))


def llama(out: Path, precision: Precision) -> None:
    """A chat model as SmolLM2 is one: no norms on queries and keys, one table for what comes in and what goes out."""
    from mlx_lm.models.llama import Model, ModelArgs

    ids = qwen_tokenizer(out, "plain")
    config = qwen3_config(ids) | {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "tie_word_embeddings": True}
    write_model(out, Model(ModelArgs.from_dict(config)), config, precision)
    write_json(out / "generation_config.json", generation_config(ids))


def qwen3_embedding(out: Path, precision: Precision) -> None:
    """An embedding model that takes the last token, 64 wide."""
    from mlx_embeddings.models.qwen3 import Model, ModelArgs

    ids = qwen_tokenizer(out, None, append_end=True)
    config = qwen3_config(ids) | {"tie_word_embeddings": True, "eos_token_id": ids["<|endoftext|>"]}
    write_model(out, Model(ModelArgs.from_dict(config)), config, precision)
    _write_pooling(out, "lasttoken")


def bert(out: Path, precision: Precision) -> None:
    """An embedding model that averages its tokens, 64 wide, context 512."""
    from mlx_embeddings.models.bert import Model, ModelArgs

    bert_tokenizer(out)
    config = bert_config()
    write_model(out, Model(ModelArgs.from_dict(config)), config, precision)
    _write_pooling(out, "mean_tokens")
    write_json(out / "sentence_bert_config.json", {"max_seq_length": 256, "do_lower_case": False})


def bert_config() -> dict[str, Any]:
    """Return the ``config.json`` of a two-layer BERT."""
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": _WIDTH,
        "initializer_range": 0.02,
        "intermediate_size": 128,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        "use_cache": True,
        "vocab_size": VOCAB,
    }


def qwen3_config(ids: dict[str, int]) -> dict[str, Any]:
    """Return the ``config.json`` of a two-layer Qwen3."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": _WIDTH,
        "num_hidden_layers": 2,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": VOCAB,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": CONTEXT,
        "rope_theta": 1e6,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
        "eos_token_id": ids["<|im_end|>"],
        "bos_token_id": ids["<|endoftext|>"],
        "use_cache": True,
    }


def generation_config(ids: dict[str, int]) -> dict[str, Any]:
    """Return the ``generation_config.json`` that Qwen3 publishes: sampled, two tokens that end an answer."""
    return {
        "bos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "do_sample": True,
        "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
        "temperature": 0.6,
        "top_k": 20,
        "top_p": 0.95,
    }


def _write_pooling(out: Path, mode: str) -> None:
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds)
    ]
    write_json(out / "modules.json", modules)
    modes = {f"pooling_mode_{name}": name == mode for name in ("cls_token", "mean_tokens", "max_tokens", "lasttoken")}
    write_json(out / "1_Pooling" / "config.json", {"word_embedding_dimension": _WIDTH, **modes, "include_prompt": True})
