"""What ``mlx-local batch run`` does: find the file's batch or make one, follow it, fetch its results."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from app.cli import api_client
from app.cli.interrupts import interrupted_after
from app.cli.new_file import check_writable, new_file
from app.cli.terminal import USAGE, CommandError, say

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["Targets", "begin", "fetch", "follow", "judge", "targets"]

_FINAL = frozenset({"completed", "failed", "expired", "cancelled"})
_GOES_ON = frozenset({"validating", "in_progress", "finalizing", "completed"})  # a batch that is worth going on with
_CONTENT = "mlx_local_content"  # metadata: which file it is of
_LOOK_S = 0.5
_PATIENCE_S = 60.0  # with a server that is away
_PAGE = 100
_LINE_EVERY_PERCENT = 10
_MOST_ERRORS = 10


class Targets(NamedTuple):
    """Where results are written."""

    output: Path
    errors: Path


class _Shows(Protocol):
    """Shows how far a batch is."""

    def __call__(self, batch: Mapping[str, Any]) -> None:
        """Show it as it is now."""
        ...


def targets(file: Path, output: Path | None, errors: Path | None, *, force: bool) -> Targets:
    """Return where the results of *file* are written, as far as that is not said.

    Raises:
        CommandError: There is no such file, or something is there that *force* does not allow to replace.
    """
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "is read more than once: save it as a file first" if file.exists() else "does not exist"
        msg = f"{file} {what}."
        raise CommandError(msg, USAGE)
    wanted = Targets(output or file.with_suffix(".output.jsonl"), errors or file.with_suffix(".errors.jsonl"))
    if len({path.resolve() for path in (file, *wanted)}) < len(wanted) + 1:
        msg = "FILE, --output and --errors must be three files."
        raise CommandError(msg, USAGE)
    for path in wanted:
        check_writable(path, force=force)
    return wanted


def begin(settings: Settings, file: Path, window: str, *, again: bool) -> dict[str, Any]:
    """Return the batch of this very file that goes on or has its answers still, else a new one.

    Raises:
        CommandError: The server refused it, or the file's first line is no request.
    """
    endpoint = _endpoint(file)
    with file.open("rb") as content, interrupted_after() as interrupted:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        batch = None if again else _known(settings, digest, endpoint)
        if batch is None:
            content.seek(0)
            uploaded = api_client.send_file(settings, "/v1/files", {"purpose": "batch"}, file.name, content)
            asked = {"input_file_id": uploaded["id"], "endpoint": endpoint, "completion_window": window, "metadata": {_CONTENT: digest}}
            batch = api_client.post(settings, "/v1/batches", asked)
    if interrupted:
        _leave(batch)
        raise KeyboardInterrupt
    return batch


def _endpoint(file: Path) -> str:
    with file.open("rb") as lines:
        first = next((line for line in lines if line.strip()), b"")
    if not first:
        msg = f"{file} has no requests."
        raise CommandError(msg, USAGE)
    try:
        return str(json.loads(first)["url"])
    except (ValueError, KeyError, TypeError):
        msg = f"{file}: the first line is no request; each has custom_id, method, url and body, as JSON."
        raise CommandError(msg, USAGE) from None


def _known(settings: Settings, digest: str, endpoint: str) -> dict[str, Any] | None:
    after = ""
    while True:
        page = api_client.get(settings, f"/v1/batches?limit={_PAGE}{after}")
        for batch in page["data"]:
            is_of_it = (batch["metadata"] or {}).get(_CONTENT) == digest and batch["endpoint"] == endpoint
            if is_of_it and batch["status"] in _GOES_ON and _has_results(settings, batch):
                return dict(batch)
        if not page["has_more"]:
            return None
        after = f"&after={page['last_id']}"


def _has_results(settings: Settings, batch: Mapping[str, Any]) -> bool:
    """Return whether the files that a batch has made, if any, are there still."""
    try:
        for file_id in filter(None, (batch["output_file_id"], batch["error_file_id"])):
            api_client.get(settings, f"/v1/files/{file_id}")
    except api_client.Away:
        raise
    except CommandError:  # deleted
        return False
    return True


def follow(settings: Settings, batch: dict[str, Any], file: Path, *, quiet: bool) -> dict[str, Any]:
    """Show how far a batch is until it has ended, and return it then. Ctrl-C leaves it to the server.

    Raises:
        CommandError: The server is away, and does not come back.
    """
    way = _silence if quiet else _bar if sys.stdout.isatty() else _lines
    try:
        with way(file.name) as show:
            while True:
                show(batch)
                if batch["status"] in _FINAL:
                    return batch
                time.sleep(_LOOK_S)
                batch = _as_it_stands(settings, batch)
    except KeyboardInterrupt:
        _leave(batch)
        raise


def _as_it_stands(settings: Settings, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a batch as it stands now. It outlives its server, so one that is away is waited for: it may be starting again."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return api_client.get(settings, f"/v1/batches/{batch['id']}")
        except api_client.Away as away:
            if time.monotonic() > deadline:
                msg = f"{away.message} {batch['id']} goes on when the server does; the same command follows it then."
                raise CommandError(msg, away.exit_code) from None
            time.sleep(_LOOK_S)


def _leave(batch: Mapping[str, Any]) -> None:
    told = f"`mlx-local batch cancel {batch['id']}` ends it; the same command as before follows it again."
    sys.stderr.write(f"\nThe server goes on with {batch['id']}. {told}\n")


def fetch(settings: Settings, batch: Mapping[str, Any], wanted: Targets) -> list[Path]:
    """Write the results that a batch has, whole or not at all, and return which files there are."""
    written = []
    for file_id, path in ((batch["output_file_id"], wanted.output), (batch["error_file_id"], wanted.errors)):
        if file_id:
            with new_file(path) as out:
                for piece in api_client.download(settings, f"/v1/files/{file_id}/content"):
                    out.write(piece)
            written.append(path)
    return written


def judge(batch: Mapping[str, Any]) -> None:
    """Fail with what is wrong, unless every line was answered.

    Raises:
        CommandError: Lines failed, or all of it did.
    """
    wrong = (batch["errors"] or {}).get("data") or ()
    if wrong:
        told = [f"line {error['line']}: {error['message']}" if error["line"] else error["message"] for error in wrong[:_MOST_ERRORS]]
        more = [f"and {len(wrong) - _MOST_ERRORS} more"] if len(wrong) > _MOST_ERRORS else []
        raise CommandError("\n".join([*told, *more]))
    counts = batch["request_counts"]
    if counts["failed"] or batch["status"] != "completed":
        msg = f"{counts['failed']} of {counts['total']} lines were not answered."
        raise CommandError(msg)


def _done(batch: Mapping[str, Any]) -> int:
    counts = batch["request_counts"]
    return int(counts["completed"] + counts["failed"])


@contextmanager
def _silence(_name: str) -> Iterator[_Shows]:
    yield lambda batch: None  # noqa: ARG005 - as the others have it


@contextmanager
def _bar(name: str) -> Iterator[_Shows]:
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from app.cli.terminal import console

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console()) as progress:
        task = progress.add_task(escape(name), total=None, told="")

        def show(batch: Mapping[str, Any]) -> None:
            failed = batch["request_counts"]["failed"]
            told = f"{batch['status']}{f', {failed} failed' if failed else ''}"
            progress.update(task, completed=_done(batch), total=batch["request_counts"]["total"] or None, told=told)

        yield show


@contextmanager
def _lines(name: str) -> Iterator[_Shows]:
    """Print a line for each tenth."""
    last = -1

    def show(batch: Mapping[str, Any]) -> None:
        nonlocal last
        total = batch["request_counts"]["total"]
        tenth = 100 * _done(batch) // total // _LINE_EVERY_PERCENT if total else 0
        if tenth > last:
            last = tenth
            say(f"{name}: {batch['id']}, {_done(batch)} of {total or '?'} lines")

    yield show
