"""The parts of mlx-vlm that rank, and the one door to them.

Classifiers of BERT's family are loaded here and not by mlx-embeddings, which has a head for
ModernBERT alone (0.1.0). A judge is an ordinary language model: of it the logits of the
last token are read, and no token is ever drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_vlm import reranker
from mlx_vlm.reranker_loader import is_sequence_classifier_config, load_sequence_classification_model
from mlx_vlm.utils import load_model

__all__ = ["RerankerKind", "classify", "judge", "kind_of", "load_lazily"]


class RerankerKind(StrEnum):
    """How a model ranks."""

    JUDGE = "judge"  # a language model that was trained to answer yes or no
    CLASSIFIER = "classifier"  # an encoder with a head of one number


def kind_of(config: Mapping[str, Any]) -> RerankerKind | None:
    """Return how a model with this configuration ranks, None where mlx-vlm has none of its kind, for text."""
    try:
        known = reranker.reranker_kind(dict(config))
    except ValueError:
        return None
    classifies = is_sequence_classifier_config(dict(config))
    if known is reranker.RerankerKind.SEQUENCE_CLASSIFIER:
        return RerankerKind.CLASSIFIER if classifies else None
    return RerankerKind.JUDGE if known is reranker.RerankerKind.GENERATIVE_TEXT and not classifies else None


def load_lazily(directory: Path, config: Mapping[str, Any], kind: RerankerKind) -> nn.Module:
    """Return the model with weights that are read when they are evaluated.

    Raises:
        ValueError: A classifier with more than one label.
    """
    if kind is RerankerKind.JUDGE:
        return load_model(directory, lazy=True)
    model: nn.Module = load_sequence_classification_model(directory, lazy=True, config=dict(config))
    return model


def judge(model: nn.Module, ids: mx.array, lengths: mx.array, *, yes: int, no: int) -> mx.array:
    """Return how likely the answer to each row is *yes* rather than *no*, shape (rows,), float32.

    Args:
        model: As loaded here.
        ids: Shape (rows, tokens), int32, padded on the right: no token looks at one behind it.
        lengths: Shape (rows,), int32.
        yes: A token.
        no: Another.
    """
    language = model.language_model
    hidden = language.model(ids)
    last = hidden[mx.arange(ids.shape[0]), lengths - 1]
    logits = language.lm_head(last) if hasattr(language, "lm_head") else language.model.embed_tokens.as_linear(last)
    answers = logits[:, [yes, no]].astype(mx.float32)
    return mx.sigmoid(answers[:, 0] - answers[:, 1])


def classify(model: nn.Module, ids: mx.array, lengths: mx.array, documents_at: mx.array) -> mx.array:
    """Return the score of each row, shape (rows,), float32.

    Args:
        model: As loaded here.
        ids: Shape (rows, tokens), int32, padded on the right with the model's own padding token, which positions are counted by.
        lengths: Shape (rows,), int32.
        documents_at: Shape (rows,), int32: where the second segment begins; at the row's length where there is one segment.
    """
    places = mx.arange(ids.shape[1])[None]
    inside = places < lengths[:, None]
    segments = ((places >= documents_at[:, None]) & inside).astype(mx.int32)
    logits = model(ids, attention_mask=inside.astype(mx.int32), token_type_ids=segments).logits
    return mx.sigmoid(logits[:, 0].astype(mx.float32))
