"""The files of a batch that has ended: one of answers, one of what was not answered. Blocking, and harmless when repeated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.api.batches.answers import batch_id
from app.api.batches.results import CANCELLED, EXPIRED, LineName, Results, file_id_of, unanswered
from app.jobs.batch_record import Outcome

if TYPE_CHECKING:
    from app.api.batches.input import BatchInput
    from app.jobs.batch_record import BatchRecord
    from app.jobs.files import FileStore

__all__ = ["write_results"]


def write_results(files: FileStore, record: BatchRecord, lines: BatchInput, parts: Sequence[Path]) -> Outcome:
    """Write the results, each in the order of the input, and return what there is now; a file without lines is not made.

    Args:
        files: Where they go.
        record: Of the batch; where it has ended, lines without a result say why.
        lines: As they were asked.
        parts: What was collected.
    """
    why = EXPIRED if record.is_late else CANCELLED

    def without_answer(number: int) -> bytes:
        return unanswered(LineName(record.job_id, number, lines.read(number)["custom_id"]), why)

    results = Results(parts, len(lines), without_answer)

    def written(what: str, *, answers: bool) -> str:
        name, ident = f"{batch_id(record.job_id)}_{what}.jsonl", file_id_of(record.job_id, what)
        return files.create(name, "batch_output", results.lines(answers=answers), file_id=ident).id

    return Outcome(
        completed=results.completed,
        failed=results.failed,
        output_file_id=written("output", answers=True) if results.completed else None,
        error_file_id=written("error", answers=False) if results.failed else None,
    )
