"""What an engine that sees is given of a picture. Data only; joined to :mod:`app.engines.protocols`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Picture"]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture as a model's eyes take it: cut into patches, scaled and normalised."""

    key: str  # the same for the same pixels, whatever asks for them
    pixels: Any  # numpy float32, the patches of this one picture, in the shape that the family wants
    grid: tuple[int, int, int]  # patches: in time, down, across
    tokens: int  # how many places of a prompt it takes
