"""What is counted of a run, from what its engine says and when."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from app.actors.observing import Observer
from app.actors.runs import Choice, Run
from app.engines.hearing import Heard, Spans, TranscriptionWork
from app.engines.protocols import Embedded, EmbeddingWork, Finished, Prefilled, Sampling, TextWork, Tokens, Work
from app.engines.ranking import Ranked
from app.engines.speaking import Sound, SpeechWork, Spoken
from app.jobs.claims import Claimed
from app.jobs.record import JobKind, Lane
from app.jobs.series import (
    AUDIO_HEARD,
    AUDIO_SAID,
    CACHED_TOKENS,
    FIRST_TOKENS,
    HEARING_TIME,
    LOADS,
    OUTPUT_TOKENS,
    PROMPT_TOKENS,
    PROMPTS,
    RUNS,
    SPEAKING_TIME,
    SUM,
    SWAPS,
    TOKEN_GAPS,
    WAITS,
    Cell,
    Series,
)
from app.jobs.tally import Tally
from app.scheduler.swaps import Swaps


class Watched:
    """A run that was claimed at 100 s, two seconds after its submission, and everything that is counted of it."""

    def __init__(
        self, *works: Work, kind: JobKind = JobKind.CHAT, attempt: int = 1, parent: str | None = None, step: str | None = None
    ) -> None:
        claim = Claimed(
            id="job_1", kind=kind, model="m", lane=Lane.INTERACTIVE, attempt=attempt, token="t", seed=1, suspect=False, request={},
            created_at=10.0, started_at=12.0, claimed_at=12.0 if step is None else 92.0, parent=parent, step=step,
        )  # fmt: skip
        self.run = Run(claim, choices=[Choice(work) for work in works])
        self.run.moments.claimed = self.run.moments.added = 100.0
        self.tally = Tally()
        self.observer = Observer(self.tally)
        self.observer.claimed(self.run)

    def counted(self, series: Series, *labels: str) -> float:
        part = (SUM,) if series.buckets else ()
        return round(self.tally.numbers().get(Cell(series.name, labels or ("m",), *part), 0), 6)


def text(number: int = 0, *, extra: bool = False) -> TextWork:
    return TextWork(f"job_1/1#{number}", (1, 2), 9, Sampling(0), extra=extra)


def test_tokens_are_counted_with_the_wait_for_the_first_and_the_gaps_between_them() -> None:
    watched = Watched(text(), text(1, extra=True))
    saw = watched.observer.saw
    saw(watched.run, 0, Tokens("w", (), "an echo"), 100.2)
    saw(watched.run, 0, Prefilled("w", 4), 100.4)
    saw(watched.run, 0, Tokens("w", (5,), "a"), 100.5)
    saw(watched.run, 1, Tokens("w", (7,), "A"), 100.6)
    saw(watched.run, 0, Tokens("w", (5, 6), "bc"), 100.62)
    for number in (0, 1):
        saw(watched.run, number, Finished("w", "stop", 9, 3, 4), 101.0)
    assert watched.counted(WAITS, "chat", "m", "interactive") == 2.0
    assert watched.counted(FIRST_TOKENS, "m", "interactive") == 2.5
    assert watched.counted(TOKEN_GAPS) == 0.12
    assert watched.tally.numbers()[Cell(TOKEN_GAPS.name, ("m",), "le", "0.1")] == 2
    assert watched.counted(OUTPUT_TOKENS) == 4
    assert (watched.counted(PROMPT_TOKENS), watched.counted(CACHED_TOKENS)) == (9, 4)  # once, for both answers
    assert (watched.counted(PROMPTS, "m", "hit"), watched.counted(PROMPTS, "m", "miss")) == (1, 0)


def test_a_later_attempt_and_a_child_say_nothing_of_how_long_somebody_waited() -> None:
    for watched in (Watched(text(), attempt=2), Watched(text(), parent="job_0")):
        watched.observer.saw(watched.run, 0, Tokens("w", (5,), "a"), 100.5)
        assert watched.counted(OUTPUT_TOKENS) == 1
        assert watched.counted(WAITS, "chat", "m", "interactive") == watched.counted(FIRST_TOKENS, "m", "interactive") == 0


def test_a_parent_is_counted_once_when_its_last_step_ends_with_the_time_of_its_children() -> None:
    first, last = Watched(), Watched(step="join")
    first.run.outcome, last.run.outcome = "planned", "succeeded"
    for watched in (first, last):
        watched.run.moments.claimed = time.perf_counter()
        watched.observer.ended(watched.run)
    assert first.counted(WAITS, "chat", "m", "interactive") == 2.0
    assert last.counted(WAITS, "chat", "m", "interactive") == 0
    assert first.counted(RUNS, "chat", "m") == 0
    assert last.counted(RUNS, "chat", "m") >= 80.0


def test_a_download_is_counted_without_the_name_that_its_caller_chose() -> None:
    watched = Watched(kind=JobKind.DOWNLOAD)
    watched.run.outcome, watched.run.moments.claimed = "failed", time.perf_counter()
    watched.observer.ended(watched.run)
    assert {cell.labels for cell in watched.tally.numbers()} == {("download", "", "interactive"), ("download", "")}


def test_hearing_is_counted_in_seconds_of_sound_and_of_work_for_each() -> None:
    watched = Watched(TranscriptionWork("w", Path("a"), 10.0, 40.0))
    watched.observer.saw(watched.run, 0, Tokens("w", (5, 6), "a"), 103.0)
    heard = Heard("w", "a", "en", (), (), "stop", (), prompt_tokens=4, completion_tokens=7)
    watched.observer.saw(watched.run, 0, heard, 106.0)
    assert (watched.counted(AUDIO_HEARD), watched.counted(HEARING_TIME)) == (30.0, 0.2)
    assert (watched.counted(PROMPT_TOKENS), watched.counted(OUTPUT_TOKENS)) == (4, 7)


def test_speech_embeddings_rankings_and_a_search_for_speech_are_counted_as_what_they_are() -> None:
    watched = Watched(SpeechWork("w", ("Hello.",), (9,), 1, text_tokens=3))
    watched.observer.saw(watched.run, 0, Sound("w", 0, b"\0\0", 24_000, last=True), 100.5)
    watched.observer.saw(watched.run, 0, Spoken("w", 48_000, 24_000, 25), 101.0)
    assert watched.counted(SPEAKING_TIME) == 0.5
    assert (watched.counted(AUDIO_SAID), watched.counted(OUTPUT_TOKENS), watched.counted(PROMPT_TOKENS)) == (2.0, 25, 3)
    assert watched.counted(FIRST_TOKENS, "m", "interactive") == 2.5
    watched = Watched(EmbeddingWork("w", ((1, 2),)))
    watched.observer.saw(watched.run, 0, Embedded("w", np.zeros((1, 2), np.float32), 2), 101.0)
    watched.observer.saw(watched.run, 0, Ranked("w", np.zeros(1, np.float32), 5), 101.0)
    assert watched.counted(PROMPT_TOKENS) == 7
    before = watched.tally.numbers()
    watched.run.choices.clear()  # speech is looked for before there is any work of the job's own
    watched.observer.saw(watched.run, 0, Spans("w", ()), 101.0)
    assert watched.tally.numbers() == before


def test_a_load_is_a_swap_if_another_model_has_left_since_the_one_before() -> None:
    tally = Tally()
    swaps = Swaps(tally)
    swaps.loaded("a", 1.0)
    swaps.left("a")
    swaps.loaded("a", 1.0)  # it was idle, and came back
    assert Cell(SWAPS.name, ("a",)) not in tally.numbers()
    swaps.left("a")
    swaps.loaded("b", 1.0)
    swaps.loaded("c", 1.0)
    numbers = tally.numbers()
    assert [numbers.get(Cell(SWAPS.name, (model,)), 0) for model in "abc"] == [0, 1, 0]
    assert numbers[Cell(LOADS.name, ("a",), SUM)] == 2.0
