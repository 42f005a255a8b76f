"""``mlx-local jobs watch``: one job to its end, or all that run and wait, as the store has them.

On a terminal the picture is drawn again as it changes; elsewhere one job is a
line for each change, and all jobs are one table. The jobs of the transcribe
folder are shown with their recordings' names, and so is what has no job yet.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from app.cli import terminal
from app.jobs.record import TERMINAL, Job, JobState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from app.cli.recordings import Recordings
    from app.jobs.store import JobStore
    from app.jobs.streams import StreamEntry

__all__ = ["TokenCount", "drawn", "in_json", "in_lines", "snapshot", "watch_all", "watch_one"]

_WAIT_S = 1.0
_REDRAW_S = 0.5
_MOST_RUNNING = 100
_MOST_QUEUED = 20


class TokenCount:
    """How many tokens a job has published, and how fast: by the store's clock, from its stream."""

    def __init__(self) -> None:
        self.cursor = "0-0"
        self.total = 0
        self._after_first = 0
        self._first_ms: int | None = None
        self._last_ms = 0

    def add(self, entries: Sequence[StreamEntry]) -> None:
        """Count *entries*, which follow those counted before."""
        for entry in entries:
            self.cursor = entry.id
            if not entry.ids:
                continue
            self.total += len(entry.ids)
            self._last_ms = int(entry.id.partition("-")[0])
            if self._first_ms is None:
                self._first_ms = self._last_ms
            else:
                self._after_first += len(entry.ids)

    @property
    def per_second(self) -> float | None:
        """Tokens a second since the first publication; None until there are two."""
        if self._first_ms is None or self._last_ms <= self._first_ms:
            return None
        return self._after_first / (self._last_ms - self._first_ms) * 1000

    def __str__(self) -> str:
        rate = f", {self.per_second:.1f} tokens/s" if self.per_second is not None else ""
        return f"{self.total} tokens{rate}" if self.total else ""


def watch_one(store: JobStore, job_id: str, show: Callable[[Job, TokenCount], None]) -> Job:
    """Show a job whenever its stream grew, to its end.

    Args:
        store: Where it is.
        job_id: Which.
        show: Called with the job and what it has published, at least once a second while it goes on.

    Returns:
        The job as it ended.

    Raises:
        JobNotFound: There is no such job, or it has been forgotten meanwhile.
    """
    tokens = TokenCount()
    while True:
        job = store.get(job_id)
        ended = job.state in TERMINAL
        # Read after the record: what a job that has ended ever published is there by then.
        entries = store.stream({job_id: tokens.cursor}, wait_s=0.0 if ended else _WAIT_S).get(job_id, [])
        tokens.add(entries)
        if ended and entries:
            continue
        show(job, tokens)
        if ended:
            return job


@contextmanager
def drawn(recordings: Recordings) -> Iterator[Callable[[Job, TokenCount], None]]:
    """Draw one job on one line of the terminal, again and again."""
    from rich.live import Live
    from rich.text import Text

    with Live(console=terminal.console(), auto_refresh=False) as live:
        yield lambda job, tokens: live.update(Text(_line(job, tokens, recordings)), refresh=True)


@contextmanager
def in_lines(recordings: Recordings) -> Iterator[Callable[[Job, TokenCount], None]]:
    """Print a line whenever a job's state or stage, or the reason that it waits, has changed."""
    last: list[tuple[object, ...]] = []

    def show(job: Job, tokens: TokenCount) -> None:
        waiting = job.waiting_for
        stage = job.progress.stage if job.progress else None
        now = (job.state, job.attempt, stage, waiting.reason if waiting else None, waiting.detail if waiting else None)
        if last[-1:] != [now]:
            last.append(now)
            terminal.say(_line(job, tokens, recordings))

    yield show


@contextmanager
def in_json(recordings: Recordings) -> Iterator[Callable[[Job, TokenCount], None]]:
    """Print an object a line whenever something has changed."""
    last: list[str] = []

    def show(job: Job, tokens: TokenCount) -> None:
        more = {"tokens": tokens.total, "tokens_per_second": tokens.per_second, "recording": _recording(job, recordings.by_job()) or None}
        facts = job.model_dump(mode="json", exclude={"output"}) | more
        now = json.dumps(facts, ensure_ascii=False)
        if last[-1:] != [now]:
            last[:] = [now]
            terminal.say(now)

    yield show


def _line(job: Job, tokens: TokenCount, recordings: Recordings) -> str:
    recording = _recording(job, recordings.by_job())
    return "  ".join(part for part in (job.id, job.model, job.state, recording, so_far(job, tokens)) if part)


def _recording(job: Job, names: Mapping[str, str]) -> str:
    """Return of which recording a job is, or a part of it."""
    return names.get(job.id.partition(".")[0], "")


def watch_all(store: JobStore, recordings: Recordings) -> None:
    """Show what runs and what waits: until Ctrl-C on a terminal, once elsewhere."""
    counts: dict[str, TokenCount] = {}
    console = terminal.console()
    if not console.is_terminal:
        console.print(_all_jobs(store, counts, recordings))
        return
    from rich.live import Live

    with Live(_all_jobs(store, counts, recordings), console=console, auto_refresh=False, screen=False) as live:
        while True:
            time.sleep(_REDRAW_S)
            live.update(_all_jobs(store, counts, recordings), refresh=True)


def snapshot(store: JobStore, recordings: Recordings) -> dict[str, Any]:
    """Return what runs and what waits, oldest first, for programs."""
    names = recordings.by_job()
    running, queued = store.oldest(JobState.RUNNING, _MOST_RUNNING), store.oldest(JobState.QUEUED, _MOST_RUNNING)
    return {
        "counts": store.count_by_state(),
        "running": [job.model_dump(mode="json") | {"recording": _recording(job, names) or None} for job in running],
        "queued": [job.model_dump(mode="json") | {"recording": _recording(job, names) or None} for job in queued],
    }


def _where(store: JobStore) -> str:
    """Return a line for each worker with what it has in memory, where there are several."""
    workers = store.workers()
    lines = [f"\n{worker.host}: {', '.join(worker.in_memory) or 'no model in memory'}" for worker in workers]
    return "".join(lines) if len(lines) > 1 else ""


def _all_jobs(store: JobStore, counts: dict[str, TokenCount], recordings: Recordings) -> Table:
    from rich.markup import escape
    from rich.table import Table

    running, queued = store.oldest(JobState.RUNNING, _MOST_RUNNING), store.oldest(JobState.QUEUED, _MOST_QUEUED)
    for gone in counts.keys() - {job.id for job in running}:
        del counts[gone]
    for job in running:
        counts.setdefault(job.id, TokenCount())
    for job_id, entries in store.stream({job_id: count.cursor for job_id, count in counts.items()}).items():
        counts[job_id].add(entries)
    total = store.count_by_state()
    caption = f"{total[JobState.RUNNING]} running, {total[JobState.QUEUED]} queued{_where(store)}"
    table = Table(box=None, pad_edge=False, caption=escape(caption), caption_justify="left")
    for heading in ("JOB", "KIND", "MODEL", "LANE", "STATE", "SO FAR"):
        table.add_column(heading, no_wrap=heading == "JOB", overflow="fold")
    names = recordings.by_job()
    for job in (*running, *queued):
        far = [_recording(job, names), so_far(job, counts.get(job.id))]
        table.add_row(job.id, job.kind, job.model, job.lane, job.state, escape(", ".join(filter(None, far))))
    for stage, *told in recordings.without_job()[:_MOST_QUEUED]:
        table.add_row("", "transcript", "", "batch", stage, escape(", ".join(filter(None, told))))
    return table


def so_far(job: Job, tokens: TokenCount | None) -> str:
    """Return how far a job is: why it waits, how much it has made, or how it failed."""
    if job.error is not None:
        return f"{job.error.code}: {job.error.message}"
    waiting = job.waiting_for.detail if job.waiting_for else ""
    starts = terminal.about(job.waiting_for.estimate_s) if job.waiting_for else ""
    told = job.waiting_for is not None and job.waiting_for.reason == "downloading"  # in gigabytes, which are easier to read
    progress = str(job.progress) if job.progress and not told else ""
    return ", ".join(part for part in (waiting, starts and f"starts in {starts}", progress, str(tokens or "")) if part)
