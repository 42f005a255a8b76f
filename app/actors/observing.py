"""Watches runs: counts for ``/metrics``, and says where a run's time went, as spans, where anybody collects them.

It never touches the GPU thread: engines' events are seen on the sink's thread, with the moment at which they were
emitted, and everything else on the threads of the runs. Nothing here holds a run up or fails it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from app.engines.hearing import Heard, TranscriptionWork
from app.engines.protocols import Embedded, Event, Finished, Prefilled, TextWork, Tokens
from app.engines.ranking import Ranked
from app.engines.speaking import Sound, SpeechWork, Spoken
from app.jobs.record import JobKind
from app.jobs.series import (
    AUDIO_HEARD,
    AUDIO_SAID,
    CACHED_TOKENS,
    FIRST_TOKENS,
    HEARING_TIME,
    OUTPUT_TOKENS,
    PROMPT_TOKENS,
    PROMPTS,
    RUNS,
    SPEAKING_TIME,
    TOKEN_GAPS,
    WAITS,
)
from app.tracing import Account, Part, Traces

if TYPE_CHECKING:
    from app.actors.runs import Choice, Run
    from app.jobs.series import Series
    from app.jobs.tally import Tally

__all__ = ["Observer"]


class Observer:
    """The watcher of one worker's runs. Thread-safe.

    Args:
        tally: Where it counts.
        traces: Where it sends spans; None: nowhere.
    """

    def __init__(self, tally: Tally, traces: Traces | None = None) -> None:
        self._tally = tally
        self._traces = traces

    def claimed(self, run: Run) -> None:
        """See a run begin."""
        if _is_first(run) and run.claim.parent is None:
            self._tally.observe(WAITS, run.claim.kind, _model_of(run), run.claim.lane, value=_waited_s(run))

    def saw(self, run: Run, number: int, event: Event, at: float) -> None:
        """See what an engine said of choice *number* of a run, *at* a moment of time.perf_counter()."""
        if isinstance(event, Tokens):
            self._tokens(run, run.choices[number], event, at)
        elif isinstance(event, Prefilled):
            run.moments.prefilled = run.moments.prefilled or at
        elif isinstance(event, Sound):
            self._answers(run, at)
        else:
            self._concluded(run, number, event, at)

    def _tokens(self, run: Run, choice: Choice, event: Tokens, at: float) -> None:
        count = len(event.ids)
        if not count:  # a prompt's echo, or text that had to wait for its last byte
            return
        self._answers(run, at)
        if isinstance(choice.work, TextWork):  # what others make is counted at their end
            if choice.last_at:
                self._tally.observe(TOKEN_GAPS, run.claim.model, value=(at - choice.last_at) / count, times=count)
            choice.last_at = at
            self._tally.count(OUTPUT_TOKENS, run.claim.model, by=count)

    def _answers(self, run: Run, at: float) -> None:
        moments = run.moments
        moments.last = at
        if not moments.first:
            moments.first = at
            if _is_first(run) and run.claim.parent is None:
                self._tally.observe(FIRST_TOKENS, run.claim.model, run.claim.lane, value=_waited_s(run) + at - moments.claimed)

    def _concluded(self, run: Run, number: int, event: Event, at: float) -> None:
        tally, model = self._tally, run.claim.model
        run.moments.last = at
        work = run.choices[number].work if run.choices else None
        if isinstance(event, Finished):
            if isinstance(work, TextWork) and not work.extra:  # a prompt counts once, however many answers it gets
                tally.count(PROMPT_TOKENS, model, by=event.prompt_tokens)
                tally.count(CACHED_TOKENS, model, by=event.cached_tokens)
                tally.count(PROMPTS, model, "hit" if event.cached_tokens else "miss")
        elif isinstance(event, Embedded | Ranked):
            tally.count(PROMPT_TOKENS, model, by=event.prompt_tokens)
        elif isinstance(event, Heard) and isinstance(work, TranscriptionWork):
            tally.count(PROMPT_TOKENS, model, by=event.prompt_tokens)
            tally.count(OUTPUT_TOKENS, model, by=event.completion_tokens)
            self._sound(run, AUDIO_HEARD, HEARING_TIME, work.end_s - work.start_s, at)
        elif isinstance(event, Spoken) and isinstance(work, SpeechWork):
            tally.count(PROMPT_TOKENS, model, by=work.text_tokens)
            tally.count(OUTPUT_TOKENS, model, by=event.tokens)
            self._sound(run, AUDIO_SAID, SPEAKING_TIME, event.samples / event.rate, at)

    def _sound(self, run: Run, seconds: Series, factor: Series, sound_s: float, at: float) -> None:
        if sound_s > 0:
            self._tally.count(seconds, run.claim.model, by=sound_s)
            self._tally.observe(factor, run.claim.model, value=(at - run.moments.added) / sound_s)

    def ended(self, run: Run) -> None:
        """See a run end; its outcome is in it."""
        claim = run.claim
        if run.outcome in {"succeeded", "failed"}:
            before_s = claim.claimed_at - claim.started_at  # a parent's children, before its last step
            self._tally.observe(RUNS, claim.kind, _model_of(run), value=before_s + time.perf_counter() - run.moments.claimed)
        if self._traces is not None:
            self._traces.record(_account(run))

    def close(self) -> None:
        """Send what is left."""
        if self._traces is not None:
            self._traces.close()


def _is_first(run: Run) -> bool:
    return run.claim.attempt == 1 and not run.claim.step


def _model_of(run: Run) -> str:
    """Return the model as a label. A download's is none: whoever asks for one may name what there is not, and so make labels up."""
    return "" if run.claim.kind is JobKind.DOWNLOAD else run.claim.model


def _waited_s(run: Run) -> float:
    return max(0.0, run.claim.started_at - run.claim.created_at)


def _account(run: Run) -> Account:
    """Return where a run's time went, as seconds of this machine's clock."""
    claim, moments, ended = run.claim, run.moments, time.perf_counter()
    epoch_s = time.time() - ended
    claimed = moments.claimed + epoch_s
    answers = moments.prefilled or moments.first
    stretches = [
        ("model wait", moments.claimed, moments.leased),
        ("prefill" if answers else "engine", moments.added, answers or moments.last),
        ("decode", answers, moments.last),
    ]
    parts = [Part(name, began + epoch_s, end + epoch_s) for name, began, end in stretches if began and end]
    if _is_first(run):
        parts.insert(0, Part("queue", claimed - _waited_s(run), claimed))
    facts: dict[str, str | int] = {
        "gen_ai.request.model": claim.model,
        "mlx_local.job.id": claim.id,
        "mlx_local.job.kind": claim.kind.value,
        "mlx_local.job.lane": claim.lane.value,
        "mlx_local.job.attempt": claim.attempt,
        "mlx_local.job.outcome": run.outcome,
    }
    facts |= {f"mlx_local.job.{name}": value for name, value in (("parent", claim.parent), ("step", claim.step)) if value}
    if ends := [choice.finished for choice in run.choices if choice.finished]:
        facts["gen_ai.usage.input_tokens"] = ends[0].prompt_tokens
        facts["gen_ai.usage.output_tokens"] = sum(end.completion_tokens for end in ends)
    began = parts[0].began_s if _is_first(run) else claimed
    return Account(f"job {claim.kind}", claim.traceparent, began, ended + epoch_s, facts, tuple(parts), run.error_code)
