"""Writing a model's folder: configuration as JSON, weights in the hub's layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_map

__all__ = ["Precision", "write_json", "write_model"]

_GROUP = 32  # values that share a scale, so that widths of 64 and 32 can be quantised
_SPREAD = 3  # on the usual initial weights, so that the greedy answer is not one token again and again


@dataclass(frozen=True, slots=True)
class Precision:
    """How weights are stored: a float type, or affine quantisation to *bits* with the rest in that type."""

    dtype: mx.Dtype
    bits: int | None = None

    @classmethod
    def named(cls, name: str) -> Precision:
        """Return the precision called ``f32``, ``bf16`` or ``4bit``.

        Raises:
            ValueError: There is no such precision.
        """
        known = {"f32": cls(mx.float32), "bf16": cls(mx.bfloat16), "4bit": cls(mx.bfloat16, 4)}
        if name not in known:
            message = f"there is no precision {name!r}; choose {', '.join(known)}"
            raise ValueError(message)
        return known[name]


def write_json(file: Path, content: object) -> None:
    """Write *content* to *file*, its folder made if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_model(
    out: Path,
    model: nn.Module,
    config: Mapping[str, Any],
    precision: Precision,
    *,
    quantised: Callable[[str], bool] = lambda _path: True,
) -> None:
    """Spread, cast and, where asked, quantise *model*'s weights, and write them and *config* to *out*.

    Args:
        out: The model's folder.
        model: With the weights that its library drew; they are changed.
        config: What ``config.json`` shall say; a ``quantization`` block is added.
        precision: Of the stored weights.
        quantised: Whether the layer at a path is quantised, where it can be.
    """
    from mlx_lm.utils import save_model

    model.update(tree_map(lambda weight: weight * _SPREAD if weight.ndim > 1 else weight, model.parameters()))
    model.set_dtype(precision.dtype)
    written = dict(config)
    if precision.bits is not None:
        nn.quantize(
            model,
            group_size=_GROUP,
            bits=precision.bits,
            class_predicate=lambda path, layer: hasattr(layer, "to_quantized") and layer.weight.shape[-1] % _GROUP == 0 and quantised(path),
        )
        block = {"group_size": _GROUP, "bits": precision.bits, "mode": "affine"}
        written |= {"quantization": block, "quantization_config": block}
    mx.eval(model.parameters())
    save_model(out, model)
    write_json(out / "config.json", written)
