"""Evaluating a model's lazily loaded weights in slices, so that resident models go on answering."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import cast

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from app.engines.device import on_cpu
from app.errors import ModelLoadFailed

__all__ = ["evaluate_in_slices", "load_failed"]

_SLICE_BYTES = 128 * 1024**2


def evaluate_in_slices(model: nn.Module) -> Iterator[None]:
    """Evaluate the parameters group by group, yielding after each.

    On the CPU they become float32 first: only float32 products use the BLAS there, bfloat16 runs at half
    the speed, and mixtures of experts do not run at all.
    """
    if on_cpu():
        model.set_dtype(mx.float32)
    group: list[mx.array] = []
    size = 0
    for _, array in cast("list[tuple[str, mx.array]]", tree_flatten(model.parameters())):
        group.append(array)
        size += array.nbytes
        if size >= _SLICE_BYTES:
            mx.eval(group)
            group, size = [], 0
            yield
    mx.eval(group)


def load_failed(name: str, error: BaseException) -> ModelLoadFailed:
    """Return the failure to raise for what a library raised while it loaded *name*, and keep no weights alive by it.

    The frames of the traceback hold the half-loaded weights for as long as somebody keeps the error. The
    caller's own frame cannot be cleared from here: it lets go of the model before it raises.
    """
    traceback.clear_frames(error.__traceback__)
    return ModelLoadFailed(f"The weights of {name} could not be loaded: {type(error).__name__}: {error}")
