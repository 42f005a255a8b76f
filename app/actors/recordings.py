"""Recordings that jobs hold: their sound, decoded into the spool."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from app.audio.decoding import DecodingStopped, decode

if TYPE_CHECKING:
    from pathlib import Path

    from app.actors.runs import Run
    from app.jobs.blobs import Blobs

__all__ = ["decoded"]


def decoded(spool: Blobs, run: Run, recording: str, *, longest_s: float) -> str:
    """Return the spool's name of a recording's sound: raw int16, mono, 16 kHz, held for the run's job.

    Raises:
        UnreadableAudio: The file cannot be decoded, or is longer than *longest_s*.
        CancelledError: The run is ended.
    """

    def write(target: Path) -> None:
        decode(spool.path(recording), target, longest_s=longest_s, should_stop=run.ended.done)

    try:
        return spool.put_written(write, holder=run.claim.id)
    except DecodingStopped:
        raise CancelledError from None
