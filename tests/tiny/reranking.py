"""Tiny rerankers: Qwen3-Reranker, and encoders with a head of one number: BERT, XLM-RoBERTa and ModernBERT."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from tests.tiny.files import Precision, write_json, write_model
from tests.tiny.text import bert_config, generation_config, qwen3_config
from tests.tiny.tokenizers import bert_tokenizer, qwen_tokenizer, xlm_roberta_tokenizer

__all__ = ["bert_reranker", "modernbert_reranker", "qwen3_reranker", "xlm_roberta_reranker"]

_ONE_LABEL = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}


def qwen3_reranker(out: Path, precision: Precision) -> None:
    """A chat model without a head of its own, whose vocabulary has yes and no as tokens."""
    from mlx_lm.models.qwen3 import Model, ModelArgs

    ids = qwen_tokenizer(out, "qwen3", more=("yes", "no"))
    config = qwen3_config(ids) | {"tie_word_embeddings": True}
    write_model(out, Model(ModelArgs.from_dict(config)), config, precision)
    write_json(out / "generation_config.json", generation_config(ids))


def bert_reranker(out: Path, precision: Precision) -> None:
    """A cross-encoder that tells query and document apart by segments, context 512."""
    bert_tokenizer(out)
    _write(out, "bert", bert_config() | {"architectures": ["BertForSequenceClassification"]}, precision)


def xlm_roberta_reranker(out: Path, precision: Precision) -> None:
    """A cross-encoder whose positions begin behind the padding token's, context 512."""
    ids = xlm_roberta_tokenizer(out)
    named = {"architectures": ["XLMRobertaForSequenceClassification"], "model_type": "xlm-roberta", "pad_token_id": ids["<pad>"]}
    places = {"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    _write(out, "xlm_roberta", bert_config() | named | places, precision)


def modernbert_reranker(out: Path, precision: Precision) -> None:
    """A cross-encoder that pools by the mean, and whose every second layer looks 32 tokens either way."""
    bert_tokenizer(out)
    named = {"architectures": ["ModernBertForSequenceClassification"], "model_type": "modernbert", "classifier_pooling": "mean"}
    layers = {"num_hidden_layers": 2, "global_attn_every_n_layers": 2, "local_attention": 64, "max_position_embeddings": 512}
    _write(out, "modernbert", bert_config() | named | layers, precision)


def _write(out: Path, family: str, config: dict[str, Any], precision: Precision) -> None:
    module = importlib.import_module(f"mlx_vlm.models.{family}")
    known = module.ModelConfig.from_dict({**config, "model_type": family, "num_labels": 1})
    write_model(out, module.SequenceClassificationModel(known), config | _ONE_LABEL, precision)
