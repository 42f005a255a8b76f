"""What an engine that sees is given of a picture. Joined to :mod:`app.engines.protocols`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

__all__ = ["SEEING", "Picture", "settings_hash"]

SEEING = frozenset({"qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "paddleocr_vl"})
"""The families whose pictures we prepare, by their ``model_type``. Of others only the text half is used."""


class Picture:
    """A picture, or frames of a video that are seen at once, as a model's eyes take it: cut into patches, scaled and normalised.

    Args:
        key: The same for the same pixels, whatever asks for them.
        pixels: numpy float32, the patches of this one picture, in the shape that the family wants; None: made when they are taken.
        grid: Patches in time, down and across.
        tokens: How many places of a prompt it takes.
        again: Makes the pixels once more.
    """

    def __init__(self, key: str, pixels: Any, grid: tuple[int, int, int], tokens: int, again: Callable[[], Any]) -> None:  # noqa: ANN401 - numpy
        self.key = key
        self.grid = grid
        self.tokens = tokens
        self._pixels = pixels
        self._again = again

    def take_pixels(self) -> Any:  # noqa: ANN401 - numpy
        """Return the pixels and let go of them: a megapixel is 24 MB of numbers, and an answer may take minutes."""
        pixels, self._pixels = self._pixels, None
        return self._again() if pixels is None else pixels


def settings_hash(processor: Any) -> str:  # noqa: ANN401 - of mlx-vlm
    """Return what tells a processor from one that makes other patches."""
    figures = {name: value for name, value in vars(processor).items() if isinstance(value, int | float | list | str | bool)}
    return hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()[:8]
