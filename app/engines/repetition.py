"""Whether a model has lost itself in repeating. Pure.

Two signs. A text that compresses too well, as Whisper's authors have it, tells when
it is complete. A few tokens again and again at the end tell while it grows.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

__all__ = ["compresses_too_well", "loops"]

_MOST_RATIO = 2.4
_LONGEST_PERIOD = 32
_LEAST_TIMES = 4
_LEAST_TOKENS = 48  # in the loop: refrains and counting are shorter


def compresses_too_well(text: str) -> bool:
    """Return whether *text* says so much again that no speaker would have."""
    content = text.strip().encode()
    return bool(content) and len(content) / len(zlib.compress(content)) > _MOST_RATIO


def loops(ids: Sequence[int]) -> bool:
    """Return whether *ids* ends in the same few tokens again and again."""
    return any(_ends_in_loop(ids, period) for period in range(1, _LONGEST_PERIOD + 1))


def _ends_in_loop(ids: Sequence[int], period: int) -> bool:
    times = max(_LEAST_TIMES, -(-_LEAST_TOKENS // period))
    span = times * period
    return len(ids) >= span and all(ids[-place] == ids[-place - period] for place in range(1, span - period + 1))
