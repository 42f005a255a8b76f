"""Whether a picture has anything on it. Of one that has nothing, models make something up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["is_blank"]

_FLAT = 8  # of 255: less is the noise of a scanner's glass, or of a codec


def is_blank(picture: Image) -> bool:
    """Return whether all of *picture*, which is in RGB, has nearly one shade."""
    return all(most - least < _FLAT for least, most in picture.getextrema())  # type: ignore[misc]  # of RGB: a pair for each channel
