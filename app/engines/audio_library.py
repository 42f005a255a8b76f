"""Loading models of mlx-audio from a folder, and the one place that knows its loader's parts.

Its own ``load`` takes weights that do not fit for good ones, asks tokenizers to run
code that comes with a model, and reads them on the thread that loads. So its parts
are put together here: every weight must be there and of the right shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten
from mlx_audio.utils import apply_quantization, load_weights

__all__ = ["load_lazily"]


def load_lazily(model: nn.Module, directory: Path, config: Mapping[str, Any]) -> None:
    """Give *model* its weights, which are read when they are evaluated.

    Args:
        model: Of mlx-audio, made from its configuration.
        directory: Its folder.
        config: Its ``config.json``.

    Raises:
        ValueError: A weight is missing or of another shape.
    """
    weights: dict[str, mx.array] = model.sanitize(load_weights(directory))
    apply_quantization(model, dict(config), weights, getattr(model, "model_quant_predicate", None))
    # Checkpoints carry more than is used: tied heads, tables that the library computes.
    used = {name for name, _ in cast("list[tuple[str, mx.array]]", tree_flatten(model.parameters()))}
    model.load_weights([(name, array) for name, array in weights.items() if name in used], strict=True)
    model.eval()
