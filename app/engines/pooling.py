"""How an embedding model makes one vector of many: by the model's own configuration, not by its architecture.

Two checkpoints of one architecture may pool differently (BGE takes BERT's first
token, MiniLM the mean), and mlx-embeddings knows only the architecture. So where
a sentence-transformers configuration is there, it decides.
"""

from __future__ import annotations

from enum import StrEnum

import mlx.core as mx

from app.engines.checkpoint import Checkpoint, read_json
from app.errors import ModelLoadFailed

__all__ = ["Pooling", "pooling_of", "unit_rows"]


class Pooling(StrEnum):
    """Which hidden states become the vector."""

    CLS = "cls"
    MEAN = "mean"
    LAST = "lasttoken"
    LIBRARY = "library"  # as mlx-embeddings does for the architecture

    def pool(self, hidden: mx.array, lengths: mx.array) -> mx.array:
        """Return one vector a row.

        Args:
            hidden: Shape (rows, tokens, width), padded on the right.
            lengths: Shape (rows,), int32: tokens of each row without padding.

        Returns:
            Shape (rows, width), float32.
        """
        hidden = hidden.astype(mx.float32)
        if self is Pooling.CLS:
            return hidden[:, 0]
        if self is Pooling.LAST:
            return hidden[mx.arange(hidden.shape[0]), lengths - 1]
        inside = (mx.arange(hidden.shape[1])[None] < lengths[:, None])[..., None]
        return mx.sum(mx.where(inside, hidden, 0.0), axis=1) / lengths[:, None]


def pooling_of(checkpoint: Checkpoint) -> Pooling:
    """Return how *checkpoint* pools.

    Raises:
        ModelLoadFailed: In a way that is not implemented: its vectors would be wrong.
    """
    modules = [str(module.get("type", "")) for module in _modules(checkpoint)]
    if any(module.endswith(".Dense") for module in modules):
        return Pooling.LIBRARY  # layers after pooling, which are part of the library's model
    config = read_json(checkpoint.directory / "1_Pooling" / "config.json")
    if config is None:
        return Pooling.LIBRARY
    # Newer files name the mode, older ones have a flag for each.
    stated = config.get("pooling_mode")
    flags = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_lasttoken": "lasttoken"}
    named = {str(stated)} if stated else {flags.get(key, key) for key, on in config.items() if key.startswith("pooling_mode_") and on}
    if len(named) == 1 and (name := next(iter(named))) in set(Pooling) - {Pooling.LIBRARY}:
        return Pooling(name)
    msg = f"{checkpoint.directory.name} pools by {', '.join(sorted(named)) or 'nothing'}, which is not supported."
    raise ModelLoadFailed(msg)


def unit_rows(vectors: mx.array) -> mx.array:
    """Return *vectors*, shape (rows, width), as float32 with rows of unit norm. A row of zeros becomes NaN, never a vector."""
    vectors = vectors.astype(mx.float32)
    return vectors / mx.linalg.norm(vectors, axis=-1, keepdims=True)


def _modules(checkpoint: Checkpoint) -> list[dict[str, object]]:
    """Return the entries of modules.json: a list, so not for ``read_json``."""
    import json

    try:
        content = json.loads((checkpoint.directory / "modules.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [entry for entry in content if isinstance(entry, dict)] if isinstance(content, list) else []
