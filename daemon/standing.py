"""Where everything stands, in a small file of the home: ``mlx-local status`` reads it, also while the API is down.

It is for looking at alone. It is replaced as a whole, at most a few times a
second, and only when something changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.log import get_logger

__all__ = ["Standing"]

log = get_logger("daemon")

_PAUSE_S = 0.5


class Standing:
    """The file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told = ""
        self._not_before_s = 0.0
        self._broken = False

    def tell(self, folders: Sequence[Mapping[str, Any]], files: Sequence[Mapping[str, Any]], away: str, now_s: float) -> float:
        """Write where everything stands if that changed; return when it may be written again, if there is more to tell."""
        facts = {"pid": os.getpid(), "api": away or None, "folders": folders, "files": files}
        text = json.dumps(facts, ensure_ascii=False, indent=1)
        if text == self._told:
            return float("inf")
        if now_s < self._not_before_s:
            return self._not_before_s
        self._not_before_s = now_s + _PAUSE_S
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = self._path.with_suffix(".part")
            part.write_text(text, encoding="utf-8", errors="backslashreplace")  # it is for looking at, and may name anything
            part.replace(self._path)
        except OSError as error:
            if not self._broken:
                log.warning("standing.not_written", reason=str(error))
            self._broken = True
        else:
            self._told, self._broken = text, False
        return float("inf")
