"""What came of a batch's lines: each a line of the output file or of the error file, in the order of the input.

While the batch goes on they are kept in *parts*, blobs of the spool, in the order in which they came. At its end their places
are looked up, not their contents, and the files are written line by line.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from pydantic_core import from_json, to_json

from app.api.dialects import OPENAI
from app.api.errors import status_of
from app.errors import Failure
from app.jobs.reading import Output
from app.jobs.record import JSON_TYPE

__all__ = ["CANCELLED", "EXPIRED", "LineName", "Results", "answered", "as_part", "failed", "file_id_of", "unanswered"]

CANCELLED = Failure(code="batch_cancelled", message="The batch was cancelled before this request was answered.")
EXPIRED = Failure(code="batch_expired", message="This request could not be answered before the completion window expired.")
_ENDS_OF_LINES = {"\x85": rb"\u0085", "\u2028": rb"\u2028", "\u2029": rb"\u2029"}  # beside those that JSON does not have in texts


@dataclass(frozen=True, slots=True)
class LineName:
    """Which line it is."""

    batch: str  # id of the job
    number: int
    custom_id: str

    @property
    def request_id(self) -> str:
        """The id of the line's own job, which the worker's log has too."""
        return f"{self.batch}.{self.number}"

    def begin(self) -> bytes:
        """Return what every result begins with."""
        ident = f"batch_req_{self.batch.removeprefix('job_')}_{self.number}"
        return to_json({"id": ident, "custom_id": self.custom_id})[:-1]


def answered(line: LineName, output: Output) -> bytes:
    """Return the result of a line that was answered. An answer that is no JSON is a text."""
    if output.media_type != JSON_TYPE:
        body = to_json(output.content.decode())
    else:
        body = to_json(from_json(output.content)) if b"\n" in output.content else output.content
    return _with_response(line, HTTPStatus.OK, body)


def failed(line: LineName, failure: Failure) -> bytes:
    """Return the result of a line that the route would have answered with an error."""
    status = status_of(failure.code)
    return _with_response(line, status, to_json(OPENAI.body(failure, status, "")))


def unanswered(line: LineName, failure: Failure) -> bytes:
    """Return the result of a line that nothing came of, by no fault of its own."""
    return _one_line(line.begin() + b',"response":null,"error":' + to_json({"code": failure.code, "message": failure.message}) + b"}")


def _with_response(line: LineName, status: int, body: bytes) -> bytes:
    response = to_json({"status_code": status, "request_id": line.request_id})[:-1]
    return _one_line(line.begin() + b',"response":' + response + b',"body":' + body + b'},"error":null}')


def _one_line(result: bytes) -> bytes:
    """Return a result as the line that it is for everybody: many readers, OpenAI's client too, end lines where Unicode does."""
    for end, escaped in _ENDS_OF_LINES.items():
        result = result.replace(end.encode(), escaped)
    return result + b"\n"


def as_part(number: int, result: bytes, *, is_answer: bool) -> bytes:
    """Return a result as a line of a part."""
    return b"%d %d %s" % (number, is_answer, result)


def file_id_of(job_id: str, what: str) -> str:
    """Return the id of one of a batch's files: always the same, so that a clerk may write it again."""
    return f"file-{hashlib.sha256(f'{job_id} {what}'.encode()).hexdigest()[:24]}"


class Results:
    """Where the results of a batch are.

    Args:
        parts: Files of them.
        total: Lines of the batch.
        unanswered: Makes the result of a line of which there is none.
    """

    def __init__(self, parts: Sequence[Path], total: int, unanswered: Callable[[int], bytes]) -> None:
        self._parts = parts
        self._unanswered = unanswered
        self._part_of = array("L", [0]) * total  # counted from 1; 0: there is none
        self._begins = array("Q", [0]) * total
        self._sizes = array("Q", [0]) * total
        self._is_answer = bytearray(total)
        for place, path in enumerate(parts, 1):
            self._look_up(place, path)

    def _look_up(self, place: int, path: Path) -> None:
        begin = 0
        with path.open("rb") as file:
            for line in file:
                number, is_answer, result = line.split(b" ", 2)
                at = int(number)
                self._part_of[at], self._is_answer[at] = place, int(is_answer)
                self._begins[at], self._sizes[at] = begin + len(line) - len(result), len(result)
                begin += len(line)

    @property
    def completed(self) -> int:
        """How many lines were answered."""
        return sum(self._is_answer)

    @property
    def failed(self) -> int:
        """How many were not."""
        return len(self._is_answer) - self.completed

    def lines(self, *, answers: bool) -> Iterator[bytes]:
        """Yield the results that are answers, or all others, in the order of the input."""
        for number, is_answer in enumerate(self._is_answer):
            if is_answer == answers:
                yield self._read(number)

    def _read(self, number: int) -> bytes:
        part = self._part_of[number]
        if not part:
            return self._unanswered(number)
        with self._parts[part - 1].open("rb") as file:
            file.seek(self._begins[number])
            return file.read(self._sizes[number])
