"""The parts of mlx-embeddings that we use, and the one door to them.

The only module that knows its private name ``_get_model_arch``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_embeddings.utils import _get_model_arch, load_model

from app.engines.pooling import Pooling

__all__ = ["embed", "has_embedding_model", "load_lazily"]


def has_embedding_model(config: Mapping[str, Any]) -> bool:
    """Return whether mlx-embeddings has this architecture, for text."""
    try:
        architecture = _get_model_arch(dict(config))
    except (ImportError, ValueError):
        return False
    return hasattr(architecture, "Model") and not hasattr(architecture, "VisionConfig")


def load_lazily(directory: Path, pooling: Pooling) -> nn.Module:
    """Return the model with weights that are read when they are evaluated."""
    # ModernBERT pools inside its model, by this key; the other architectures ignore it.
    own = {} if pooling is Pooling.LIBRARY else {"classifier_pooling": pooling.value}
    model: nn.Module = load_model(directory, lazy=True, model_config=own, path_to_repo=str(directory))
    return model


def embed(model: nn.Module, ids: mx.array, lengths: mx.array, pooling: Pooling) -> mx.array:
    """Return one vector a row, shape (rows, width), of any norm.

    Args:
        model: As loaded here.
        ids: Shape (rows, tokens), int32, padded on the right: on the left some architectures give NaN.
        lengths: Shape (rows,), int32.
        pooling: How to make one vector of many.

    Raises:
        ValueError: The architecture does not give one vector a text.
    """
    mask = (mx.arange(ids.shape[1])[None] < lengths[:, None]).astype(mx.int32)
    output = model(ids, attention_mask=mask)
    hidden = output.last_hidden_state
    unpooled = hidden.shape[:2] == ids.shape
    vectors = pooling.pool(hidden, lengths) if unpooled and pooling is not Pooling.LIBRARY else output.text_embeds
    if vectors is None or vectors.shape[:-1] != ids.shape[:1]:
        msg = "the architecture does not give one vector for each text"
        raise ValueError(msg)
    result: mx.array = vectors
    return result
