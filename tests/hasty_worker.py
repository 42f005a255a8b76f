"""A machine whose clock is an hour ahead. ``python -m tests.hasty_worker`` is a worker there."""

from __future__ import annotations

import sys
import time

__all__ = ["AHEAD_S", "hasten"]

AHEAD_S = 3600.0


def hasten() -> None:
    """Put this process's clock forward, for whatever is imported after that."""
    true_time = time.time
    time.time = lambda: true_time() + AHEAD_S


if __name__ == "__main__":
    hasten()
    from app.actors.main import main

    sys.exit(main())
