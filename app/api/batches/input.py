"""The file of a batch: where its requests are, and what is wrong with it as a whole.

A line is looked at here as far as OpenAI looks before it begins: JSON, a name of its own, method and address. Its body is
checked when its turn comes, and costs that line alone. Of a file with 50,000 lines a megabyte or two is remembered.
"""

from __future__ import annotations

import codecs
import hashlib
from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from app.jobs.batch_record import BatchError

__all__ = ["MOST_LINES", "BatchInput", "UnusableInput", "scan"]

MOST_LINES = 50_000
_MOST_ERRORS = 100
_LONGEST_NAME = 512
_NAMED = ("custom_id", "method", "url", "body")


class UnusableInput(Exception):
    """No batch can be made of a file."""

    def __init__(self, errors: tuple[BatchError, ...]) -> None:
        super().__init__(errors[0].message)
        self.errors = errors


class BatchInput:
    """The requests of one file, by number from 0."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begins = array("Q")
        self._sizes = array("Q")
        self.model_of = array("L")  # of each request: a place in `models`
        self.models: list[str] = []  # the models that are asked for, as far as that can be told

    def __len__(self) -> int:
        return len(self._begins)

    def add(self, begin: int, size: int, model: str) -> None:
        """Remember where the next request is, and whom it asks."""
        if model not in self.models:
            self.models.append(model)
        self._begins.append(begin)
        self._sizes.append(size)
        self.model_of.append(self.models.index(model))

    def size(self, number: int) -> int:
        """Return how many bytes a request has."""
        return self._sizes[number]

    def read(self, number: int) -> dict[str, Any]:
        """Return a request as it came."""
        with self._path.open("rb") as file:
            file.seek(self._begins[number])
            request: dict[str, Any] = from_json(file.read(self._sizes[number]))
        return request


def scan(path: Path, endpoint: str, model_of: Callable[[object], str], longest_line: int) -> BatchInput:
    """Find the requests of a file.

    Args:
        path: The file.
        endpoint: What each line's ``url`` must be.
        model_of: Returns the id that a body's ``model`` means; anything where it means nothing.
        longest_line: In bytes.

    Raises:
        UnusableInput: It has none or too many, or a line that is no request; the errors say which.
    """
    found, names, errors = BatchInput(path), set[bytes](), list[BatchError]()
    for number, begin, raw in _lines(path, longest_line):
        error = None
        if raw is None:
            error = BatchError(code="line_too_large", message=f"This line has more than {longest_line} bytes (MLX_LOCAL_MAX_BODY).")
        elif raw.strip():
            request, error = _read(raw, endpoint, names)
            if error is None:
                found.add(begin, len(raw), model_of(request["body"].get("model")))
        if error is not None:
            errors.append(error.model_copy(update={"line": number}))
        if len(errors) == _MOST_ERRORS:
            break
        if len(found) > MOST_LINES:
            errors.append(BatchError(code="too_many_requests", message=f"The file has more than {MOST_LINES} requests."))
            break
    if not errors and not len(found):
        errors.append(BatchError(code="empty_file", message="The file has no requests."))
    if errors:
        raise UnusableInput(tuple(errors))
    return found


def _lines(path: Path, longest: int) -> Iterator[tuple[int, int, bytes | None]]:
    """Yield number, begin and content of each line; None: it is too long. The mark that Windows begins files with is passed over."""
    with path.open("rb") as file:
        number, begin = 0, len(codecs.BOM_UTF8) if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0
        file.seek(begin)
        while raw := file.readline(longest + 2):
            number += 1
            size, whole = len(raw), raw.endswith(b"\n")
            yield number, begin, raw if len(raw.rstrip(b"\n")) <= longest else None
            while not whole and (rest := file.readline(longest)):
                size, whole = size + len(rest), rest.endswith(b"\n")
            begin += size


def _read(raw: bytes, endpoint: str, names: set[bytes]) -> tuple[Mapping[str, Any], BatchError | None]:
    """Return the request of a line, and what is wrong with it; *names* are those of the lines before."""
    try:
        request = from_json(raw, allow_inf_nan=False)
    except ValueError:
        return {}, BatchError(code="invalid_json_line", message="This line is not parseable as valid JSON.")
    if not isinstance(request, dict):
        return {}, BatchError(code="invalid_json_line", message="This line is no JSON object.")
    return request, _error_of(request, endpoint) or _repeats(request["custom_id"], names)


def _error_of(request: Mapping[str, Any], endpoint: str) -> BatchError | None:
    for name in _NAMED:
        if request.get(name) is None:
            return BatchError(code="missing_required_parameter", message=f"`{name}` is required.", param=name)
    name, method, url, body = (request[field] for field in _NAMED)
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
        return BatchError(
            code="invalid_custom_id", message=f"`custom_id` must be a text of 1 to {_LONGEST_NAME} characters.", param="custom_id"
        )
    if method != "POST":
        return BatchError(code="invalid_method", message="`method` must be 'POST'.", param="method")
    if url != endpoint:
        return BatchError(code="invalid_url", message=f"`url` must be the batch's endpoint, {endpoint!r}.", param="url")
    if not isinstance(body, dict):
        return BatchError(code="invalid_body", message="`body` must be an object.", param="body")
    return None


def _repeats(name: str, names: set[bytes]) -> BatchError | None:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    if digest in names:
        message = f"The custom_id {name[:80]!r} is a duplicate of another request's; each must be unique within a batch."
        return BatchError(code="duplicate_custom_id", message=message, param="custom_id")
    names.add(digest)
    return None
