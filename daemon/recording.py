"""One recording in a watched folder, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.flight import Flight, Stage
from daemon.folder import Folder
from daemon.folder_settings import FolderSettings
from daemon.ledger import Known
from daemon.naming import shown
from daemon.signature import Signature

__all__ = ["Recording"]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


@dataclass(slots=True, eq=False)
class Recording:
    """What is known of it in this life of the daemon."""

    path: Path
    folder: Folder
    signature: Signature
    stage: Stage = Stage.SETTLING
    known: Known | None = None  # once its content is
    hashing: Future[str] | None = None
    flight: Flight | None = None
    heard_of: str | None = None  # the job of which what was heard is written down, before its end
    finished_by: FolderSettings | None = None  # what was wanted of it when it was done
    trouble: str = ""
    not_before_s: float = 0.0
    tries: int = 0

    def anew(self, signature: Signature) -> None:
        """Begin from the beginning: it is another file now."""
        self.signature, self.stage = signature, Stage.SETTLING
        self.known = self.hashing = self.flight = self.heard_of = None
        self.calm()

    def stumble(self, why: str, now_s: float) -> None:
        """Note what went wrong and will be tried again after a while."""
        self.trouble = why
        self.not_before_s = now_s + min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**self.tries)
        self.tries = min(self.tries + 1, 10)

    def calm(self) -> None:
        """Note that what went wrong is over."""
        self.trouble, self.tries, self.not_before_s = "", 0, 0.0

    def as_facts(self) -> Mapping[str, Any]:
        """Return where it stands, for whoever asks."""
        flying = self.flight if self.flight is not None and self.stage is not Stage.WRITING else None
        return {
            "path": shown(self.path),
            "folder": shown(self.folder.root),
            "stage": str(flying.stage if flying else self.stage),
            "progress": flying.progress if flying else None,
            "job": self.flight.job_id if self.flight else None,
            "detail": self.trouble or (flying.detail if flying else "") or None,
        }
