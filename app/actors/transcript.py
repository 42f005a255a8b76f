"""How a recording becomes a corrected transcript: written down by one model, then corrected piece by piece by another.

A job of this kind needs no model itself. Its first child writes the recording
down, as a job of kind ``transcription`` that has children of its own; then each
piece of the text is a chat of the correcting model. All pieces are planned at
once, each with the text before it as it was heard, so none waits for another and
a model comes once for many recordings. What a child made is kept, whatever
happens to the worker afterwards; and what was heard stays readable when nothing
can be corrected.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from app.actors.corrections import Raw, read_correction, read_raw, transcript_output
from app.actors.runs import Joined, Run
from app.correction.pieces import cut, last_sentences
from app.correction.prompts import Asked, answer_budget, fitting, messages
from app.errors import Failure, JobCanceled, JobFailed
from app.jobs.chains import Child, Children, EndedChild, Plan
from app.jobs.record import JobKind
from app.jobs.transcript_requests import TranscriptFields

__all__ = ["TranscriptSteps"]

_PIECES_AT_ONCE = 4  # of one transcript, so that others pass between
_MOST_PIECES = 1000
_OF_THE_EAR = ("language", "prompt", "hotwords")
_HEARD, _CORRECTED = "heard", "corrected"


class _Piece(NamedTuple):
    """A piece of the text."""

    text: str
    before: str  # the last sentences of the piece before


class TranscriptSteps:
    """The steps of transcripts."""

    def plan(self, run: Run) -> Plan:
        """Have the recording written down."""
        claim = run.claim
        asked = {name: claim.request[name] for name in _OF_THE_EAR if claim.request.get(name)}
        child = Child(
            kind=JobKind.TRANSCRIPTION,
            model=claim.model,
            request={**asked, "response_format": "verbose_json", "fit_hotwords": True, "for_reading": True},
            blobs=claim.blobs,
            units=round(claim.request.get("duration_s") or 0),
            seed=claim.seed,
        )
        # Kept: its failure is told as its own, not as that of a part.
        return Plan(
            children=(child,), window=1, step=_HEARD, on_failure="keep", unit="seconds", stage="transcribing", follows=True
        )  # fmt: skip

    def join(self, run: Run, children: Children) -> Joined | Plan:
        """Plan the correction of what was heard, or put its pieces together.

        Raises:
            JobFailed: The recording was not written down, or nothing of it was corrected; what is told is the child's failure.
            JobCanceled: Somebody cancelled it.
        """
        first, *others = children
        raw, asked = _heard(first), TranscriptFields.model_validate(run.claim.request)
        pieces = _cut(raw.text, asked) if asked.corrects else []
        if run.claim.step == _HEARD and pieces:
            return _plan(run, raw, asked, pieces)
        hotwords = (asked.hotwords or ())[: fitting(asked.hotwords or ())]
        read = [read_correction(*piece, child, hotwords) for piece, child in zip(pieces, others, strict=True)]
        if read and not any(correction.answered for correction in read):
            raise _not_corrected(first.id, next((child.error for child in others if child.error is not None), None))
        return transcript_output(raw, asked, read, run.claim.model)


def _heard(child: EndedChild) -> Raw:
    if child.output is not None:
        return read_raw(json.loads(child.output))
    if child.error is not None:
        raise JobFailed(child.error)
    raise JobCanceled(child.id)


def _cut(text: str, asked: TranscriptFields) -> list[_Piece]:
    pieces = cut(text, max(asked.piece_characters, len(text) // _MOST_PIECES))
    return [_Piece(piece, last_sentences(before)) for piece, before in zip(pieces, ["", *pieces], strict=False)]


def _plan(run: Run, raw: Raw, asked: TranscriptFields, pieces: Sequence[_Piece]) -> Plan:
    model = str(asked.correction_model)
    told = Asked(raw.language, raw.language_name, asked.hotwords or (), asked.prompt_additions or "")

    def request(piece: _Piece) -> dict[str, Any]:
        return {
            "messages": messages(piece.text, piece.before, told),
            "temperature": asked.temperature,
            "max_tokens": answer_budget(piece.text),
            "chat_template_kwargs": {"enable_thinking": False},
        }

    children = tuple(
        Child(kind=JobKind.CHAT, model=model, request=request(piece), units=units, seed=run.claim.seed)
        for piece, units in zip(pieces, _seconds(pieces, raw.duration_s), strict=True)
    )
    total = round(raw.duration_s)
    return Plan(
        children=children, window=_PIECES_AT_ONCE, step=_CORRECTED, on_failure="keep", unit="seconds", total=total, stage="correcting"
    )


def _seconds(pieces: Sequence[_Piece], total_s: float) -> Iterator[int]:
    """Yield how many seconds of the recording each piece is about, by its share of the text."""
    ends = [0]
    for piece in pieces:
        ends.append(ends[-1] + len(piece.text))
    for begin, end in pairwise(ends):
        yield round(end / ends[-1] * total_s) - round(begin / ends[-1] * total_s)


def _not_corrected(heard: str, failure: Failure | None) -> JobFailed:
    """Return the failure of a transcript none of whose pieces the model answered, and say where the text is that was heard."""
    code, why = (failure.code, failure.message) if failure else ("job_canceled", "Its pieces were cancelled.")
    return JobFailed(
        Failure(code=code, message=f"The transcript could not be corrected; as it was heard it is the output of {heard}. {why}")
    )
