"""What has happened to one job, in lines: its stream, with tokens and sound counted and not shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.jobs.record import TERMINAL, Job

if TYPE_CHECKING:
    from app.jobs.reading import JobReader
    from app.jobs.streams import StreamEntry

__all__ = ["Happenings", "Line"]

_AT_ONCE = 1000
_ROUNDS = 30
_LINES = 200


@dataclass(slots=True)
class Line:
    """Something that happened, once or again and again."""

    at: float  # epoch s: when it began
    what: str
    detail: str = ""
    last_at: float | None = None  # of what goes on: when it was heard of last


class Happenings:
    """A job's stream, read on from where it was read to. For one call at a time."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._cursor = "0-0"
        self._lines: list[Line] = []
        self._counted = 0

    def read(self, reader: JobReader) -> None:
        """Take in what is new.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        for _ in range(_ROUNDS):
            entries = reader.stream({self._job_id: self._cursor}, count=_AT_ONCE).get(self._job_id, [])
            for entry in entries:
                self._take(entry)
            if entries:
                self._cursor = entries[-1].id
            if len(entries) < _AT_ONCE:
                return

    def told(self, job: Job) -> list[Line]:
        """Return the lines, oldest first. A stream that is gone is told by the record."""
        lines = [Line(job.created_at.timestamp(), "submitted")]
        ends = [line for line in self._lines if line.what in TERMINAL]
        lines += self._lines[-_LINES:]
        if not self._lines and job.started_at is not None:
            lines.append(Line(job.started_at.timestamp(), "running", f"attempt {job.attempt}"))
        if not ends and job.finished_at is not None:
            lines.append(Line(job.finished_at.timestamp(), job.state.value))
        return lines

    def _take(self, entry: StreamEntry) -> None:
        at = int(entry.id.partition("-")[0]) / 1000
        if entry.type == "tokens":
            self._count(at, "answering", len(entry.ids), "tokens")
        elif entry.type == "sound":
            self._count(at, "speaking", 1, "pieces of sound")
        elif entry.type == "progress" and entry.progress is not None:
            self._go_on(at, entry.progress.stage or "working", str(entry.progress))
        elif entry.type == "child" and entry.child is not None:
            self._lines.append(Line(at, "part", f"{entry.child.number + 1} {entry.child.state}"))
        elif entry.state is not None:
            self._counted = 0
            self._lines.append(
                Line(at, entry.state.value, f"attempt {entry.attempt}" if entry.attempt and entry.state == "running" else "")
            )

    def _count(self, at: float, what: str, number: int, unit: str) -> None:
        self._counted += number
        self._go_on(at, what, f"{self._counted:,} {unit}")

    def _go_on(self, at: float, what: str, detail: str) -> None:
        if self._lines and self._lines[-1].what == what:
            self._lines[-1].detail, self._lines[-1].last_at = detail, at
        else:
            self._lines.append(Line(at, what, detail))
