"""How a recording becomes text: decoded, searched for speech, cut where nobody speaks, heard chunk by chunk, put together.

The first step of a job decodes its file, finds where somebody speaks, and cuts.
A recording of one chunk goes on as an ordinary job. A longer one gets a child
for each chunk, few of them at a time, so that others' requests pass between;
what a child heard is kept, whatever happens to the worker afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from app.actors.recordings import decoded
from app.actors.runs import Joined, Run
from app.actors.transcripts import Transcript, chunk_facts, read_chunk, transcript_body
from app.audio.cutting import Chunk, Rules, Span, cut, grouped
from app.audio.energy import loudness_of, speech_spans
from app.audio.pcm import duration_s
from app.engines.hearing import Heard, Hears, SpansWork, TranscriptionWork
from app.errors import EngineFailed
from app.jobs.bodies import keep_seconds
from app.jobs.chains import MAX_CHILDREN, Child, Children, Plan
from app.jobs.record import JobKind, Lane

if TYPE_CHECKING:
    from app.engines.protocols import Frontend
    from app.jobs.blobs import Blobs
    from app.jobs.claims import Claimed
    from app.models.catalog import Catalog
    from app.scheduler.breadcrumb import Preparing
    from app.scheduler.gpu import GpuThread
    from app.scheduler.residency import Residency

__all__ = ["TranscriptionSteps", "heard_output"]

_CHUNKS_AT_ONCE = 4
_TOO_MANY_WORDS = "Of {asked} hot words the first {told} were told to {model!r}: it takes no more."
_OF_A_CHUNK = ("language", "prompt", "hotwords", "temperature", "seed", "timestamp_granularities", "keep_alive")  # what each is asked with


class _Look(NamedTuple):
    """What a model says of a recording before it hears it."""

    spans: Sequence[tuple[float, float]]  # where somebody speaks
    longest_s: float  # of a chunk
    hotwords: Sequence[str]  # that it is told


class TranscriptionSteps:
    """The steps of transcriptions and translations.

    Args:
        spool: Where the recordings are.
        catalog: The models of this moment.
        residency: Leases the model that listens.
        gpu: Runs it.
        preparing: Told whose request is being prepared.
        longest_s: A longer recording is refused.
    """

    def __init__(
        self, spool: Blobs, catalog: Callable[[], Catalog], residency: Residency, gpu: GpuThread, preparing: Preparing, longest_s: float
    ) -> None:
        self._spool = spool
        self._catalog = catalog
        self._residency = residency
        self._gpu = gpu
        self._preparing = preparing
        self._longest_s = longest_s

    def plan(self, run: Run) -> Plan | Joined | None:
        """Decode, find speech and cut; a chunk only learns where its sound is.

        Raises:
            UnreadableAudio: The file cannot be decoded.
            InvalidRequest: The model cannot do what is asked.
            CancelledError: The run is ended.
        """
        claim = run.claim
        if _is_chunk(claim):
            run.request = {**claim.request, "audio": self._spool.path(claim.request["audio"])}
            return None
        (recording,) = claim.blobs
        sound = decoded(self._spool, run, recording, longest_s=self._longest_s)
        path = self._spool.path(sound)
        total_s = duration_s(path)
        look = self._look(run, path)
        chunks = cut((Span(*span) for span in look.spans), total_s, Rules(longest_s=look.longest_s), energy=loudness_of(path))
        if not chunks:
            return transcript_body(Transcript(), claim.request, task=_task(claim.kind), duration_s=total_s)
        chunks = grouped(chunks, MAX_CHILDREN)
        asked = [self._asked(claim, look.hotwords, chunk, total_s) for chunk in chunks]
        asked[0] |= {"warnings": self._warnings(claim, look.hotwords)}
        if len(chunks) == 1:
            run.request = {**asked[0], "audio": path, "whole": True}
            return None
        children = tuple(
            Child(
                kind=claim.kind,
                model=claim.model,
                request={**request, "audio": sound, "whole": False},
                blobs=(sound,),
                units=units,
                seed=claim.seed,
            )
            for request, units in zip(asked, _seconds(chunks, total_s), strict=True)
        )
        return Plan(children=children, window=_CHUNKS_AT_ONCE, unit="seconds", total=round(total_s))

    def join(self, run: Run, children: Children) -> Joined:
        """Put the chunks' texts together."""
        outputs = [child.output for child in children if child.output is not None]
        heard, durations = zip(*(read_chunk(output) for output in outputs), strict=True)
        return transcript_body(Transcript.together(heard), run.claim.request, task=_task(run.claim.kind), duration_s=durations[0])

    def _look(self, run: Run, path: Path) -> _Look:
        """Return what the model says of a recording before it hears it."""
        claim = run.claim
        keep_s = keep_seconds(claim.request.get("keep_alive"))
        with self._residency.lease(self._catalog().get(claim.model), run.work_id, run.ended, keep_s) as frontend:
            if not isinstance(frontend, Hears):
                message = f"{claim.model!r} is a model that does not hear."
                raise EngineFailed(message)
            hotwords = self._refuse_early(frontend, run, path)
            if not frontend.finds_speech:
                return _Look(speech_spans(path), frontend.longest_chunk_s, hotwords)
            self._gpu.add(claim.model, SpansWork(run.work_id, path, alone=claim.suspect, patient=claim.lane is Lane.BATCH))
            futures: set[Future[Any]] = {run.spans, run.ended}
            wait(futures, return_when=FIRST_COMPLETED)
            if run.ended.done():
                self._gpu.cancel(claim.model, run.work_id)
                raise CancelledError
            return _Look(run.spans.result().spans, frontend.longest_chunk_s, hotwords)

    def _refuse_early(self, frontend: Frontend, run: Run, path: Path) -> Sequence[str]:
        """Have what the model cannot do refused before its sound is searched; return the hot words that it is told."""
        with self._preparing.naming(run.work_id):
            work = frontend.prepare(run.work_id, run.claim.kind, {**run.claim.request, "audio": path}, seed=run.claim.seed)
        return work.hotwords if isinstance(work, TranscriptionWork) else ()

    @staticmethod
    def _asked(claim: Claimed, hotwords: Sequence[str], chunk: Chunk, total_s: float) -> dict[str, Any]:
        asked = {name: claim.request[name] for name in _OF_A_CHUNK if name in claim.request}
        told = {"hotwords": list(hotwords)} if hotwords else {}
        return asked | told | {"start_s": chunk.start_s, "end_s": chunk.end_s, "duration_s": total_s}

    @staticmethod
    def _warnings(claim: Claimed, hotwords: Sequence[str]) -> list[str]:
        asked = sum(bool(word.strip()) for word in claim.request.get("hotwords") or ())
        if not claim.request.get("fit_hotwords") or len(hotwords) >= asked:
            return []
        return [_TOO_MANY_WORDS.format(asked=asked, told=len(hotwords), model=claim.model)]


def heard_output(run: Run, heard: Heard) -> Joined:
    """Return the output of a job whose sound was heard at once: a whole answer, or of a parent's chunk what the parent needs."""
    transcript, claim = Transcript.of(heard, warnings=run.request.get("warnings", ())), run.claim
    total_s = float(run.request["duration_s"])
    if _is_chunk(claim):
        return Joined(chunk_facts(transcript, total_s))
    return transcript_body(transcript, claim.request, task=_task(claim.kind), duration_s=total_s)


def _is_chunk(claim: Claimed) -> bool:
    """Whether a job is a part of a recording; a whole one may be somebody's child too."""
    return "audio" in claim.request


def _task(kind: JobKind) -> str:
    return "translate" if kind is JobKind.TRANSLATION else "transcribe"


def _seconds(chunks: Sequence[Chunk], total_s: float) -> list[int]:
    """Return how many seconds of the recording are done with the end of each chunk, pauses before it included; the last has the rest."""
    ends = [0, *(round(chunk.end_s) for chunk in chunks[:-1]), round(total_s)]
    return [end - begin for begin, end in pairwise(ends)]
