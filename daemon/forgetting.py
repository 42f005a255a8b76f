"""``mlx-local purge``: the daemon's memory forgets transcripts, for good. Works while a daemon runs, and while none does.

The daemon remembers them for copies of a recording; without, a copy is
transcribed anew. Everything else that it remembers has no content.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from app.errors import InferenceError
from app.settings import load_settings

__all__ = ["forget", "main"]

_PATIENCE_S = 10.0


def forget(ledger: Path, older_than_s: float) -> int:
    """Remove from *ledger* the transcripts that are older than that; return how many.

    Raises:
        sqlite3.Error: It cannot be used now.
    """
    if not ledger.exists():
        return 0
    with contextlib.closing(sqlite3.connect(ledger, timeout=_PATIENCE_S)) as db:
        db.execute("PRAGMA secure_delete = ON")  # zeros where they were, not a note that the pages are free
        with db:
            count = db.execute("DELETE FROM outputs WHERE at <= ?", (time.time() - older_than_s,)).rowcount
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log of changes has them too
    return count


def main(arguments: Sequence[str]) -> int:
    """Forget what is older than the seconds of *arguments*."""
    try:
        forget(load_settings().daemon_dir / "ledger.sqlite3", float(arguments[0]))
    except InferenceError as error:
        sys.stderr.write(f"{error.message}\n")
        return 2
    except sqlite3.Error as error:
        sys.stderr.write(f"The daemon's memory could not be purged: {error}.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
