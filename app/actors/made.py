"""What a job's end is worth: its output, in the shape that its kind has."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from app.actors.ocr import read_output
from app.actors.outputs import chat_completion, download_report, embedding_list, text_completion
from app.actors.ranking import ranked_list
from app.actors.runs import Downloaded, Ending, Joined, Planned, Run, Withdrawn
from app.actors.speech import spoken_output
from app.actors.transcription import heard_output
from app.engines.hearing import Heard
from app.engines.protocols import Embedded, Failed, Finished
from app.engines.ranking import Ranked
from app.engines.speaking import Spoken
from app.jobs.record import JobKind

if TYPE_CHECKING:
    from app.jobs.store import JobStore

__all__ = ["made_of"]


def made_of(store: JobStore, run: Run, ending: Ending) -> Joined:
    """Return what came of a run.

    Raises:
        InferenceError: It failed, or what came of it cannot be what was asked for.
        StoreUnavailable: Redis does not answer.
    """
    claim = run.claim
    match ending:
        case Finished():
            return _written(store, run, ending)
        case Embedded():
            return Joined(*embedding_list(claim, ending))
        case Ranked():
            return ranked_list(claim, ending)
        case Heard():
            return heard_output(run, ending)
        case Spoken():
            return spoken_output(store, run, ending)
        case Downloaded():
            return Joined(download_report(ending))
        case Joined():
            return ending
        case Failed():
            raise ending.error
        case Planned() | Withdrawn():
            msg = f"{ending} makes no output"
            raise TypeError(msg)


def _written(store: JobStore, run: Run, ending: Finished) -> Joined:
    """Return what came of a run whose model wrote text."""
    if run.claim.kind is JobKind.OCR:
        return read_output(store.spool, run, ending)
    make = chat_completion if run.claim.kind is JobKind.CHAT else text_completion
    return Joined(*make(run.claim, int(time.time()), run.choices))
