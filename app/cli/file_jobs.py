"""Jobs of files that a command sends: each file's job followed on a terminal, and what came of it written beside it."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from app.cli.interrupts import interrupted_after
from app.cli.new_file import check_writable
from app.cli.terminal import NOT_RUNNING, USAGE, CommandError

if TYPE_CHECKING:
    from app.jobs.record import Job, Progress
    from app.settings import Settings

__all__ = ["STDIN", "between", "check_targets", "do_each", "output_of_file", "targets_of"]

STDIN = Path("-")
"""What is piped in."""

Targets = Mapping[Path, Mapping[str, Path]]
"""Of each file: a suffix and the file that is to be written."""


def targets_of(files: Sequence[Path], suffixes: Sequence[str], folder: Path | None) -> dict[Path, dict[str, Path]]:
    """Return what is to be written of each file: one for each suffix, beside it or in *folder*; of what is piped in nothing."""
    return {
        file: {} if file == STDIN else {suffix: (folder or file.parent) / f"{file.stem}.{suffix}" for suffix in suffixes}
        for file in dict.fromkeys(files)
    }


def check_targets(targets: Targets, *, force: bool) -> None:
    """See that every file is there and all that is made of it can be written, before anything is sent.

    Raises:
        CommandError: It is not, it cannot, or two files would become one.
    """
    whose: dict[Path, Path] = {}
    for file, written in targets.items():
        if file != STDIN and not file.is_file():
            msg = f"{file} is a folder: name the files in it." if file.is_dir() else f"{file} does not exist."
            raise CommandError(msg, USAGE)
        for target in written.values():
            other = whose.setdefault(target, file)
            if other != file:
                msg = f"{other} and {file} would both be written down as {target}: take one at a time, with --output."
                raise CommandError(msg, USAGE)
            if target.resolve() == file.resolve():
                msg = f"{file} would be written over."
                raise CommandError(msg, USAGE)
    for written in targets.values():
        for target in written.values():
            check_writable(target, force=force)


def between(file: Path, files: Sequence[Path], suffix: str) -> str:
    """Return what is printed before the text of one of *files*, as ``head`` does it.

    Nothing where there is one, and nothing before JSON, whose objects are told apart as they are.
    """
    if len(files) == 1 or suffix == "json":
        return ""
    return f"==> {file} <==\n" if file == files[0] else f"\n==> {file} <==\n"


def do_each(files: Sequence[Path], do: Callable[[Path], None], failed_words: str) -> None:
    """Do something with one file after the other; one that fails keeps none from being done.

    Raises:
        CommandError: One failed: with its own sentence where there is one file, else with how many, and *failed_words*.
    """
    failed = 0
    for file in files:
        try:
            do(file)
        except CommandError as error:
            if error.exit_code == NOT_RUNNING or len(files) == 1:
                raise
            failed += 1
            sys.stderr.write(f"{file}: {error.message}\n")
    if failed:
        msg = f"{failed} of {len(files)} {failed_words}."
        raise CommandError(msg)


def output_of_file(
    settings: Settings, file: Path, kind: str, request: Mapping[str, Any], told: Callable[[Progress], str]
) -> dict[str, Any]:
    """Submit one file, follow its job, and return what came of it, which must be JSON. Ctrl-C cancels the job.

    Args:
        settings: Of the server.
        file: Or :data:`STDIN`.
        kind: Of the job.
        request: Of the job.
        told: Says how far it is.

    Raises:
        CommandError: The server refused it, or the job did not succeed.
    """
    from app.cli import api_client
    from app.cli.store_access import job_store
    from app.cli.watching import watch_one
    from app.jobs.record import JobState

    with _opened(file) as content, interrupted_after() as interrupted:
        fields = {"kind": kind, "lane": "interactive", "request": json.dumps(request)}
        job_id = str(api_client.send_file(settings, "/v1/jobs", fields, file.name, content)["id"])
    with job_store(settings) as store:
        try:
            if interrupted:
                signal.raise_signal(signal.SIGINT)
            with _bar(file.name, told) as tell:
                job = watch_one(store, job_id, lambda job, _: tell(job))
        except KeyboardInterrupt:
            store.cancel(job_id)
            sys.stderr.write(f"\nCanceled; `mlx-local jobs retry {job_id}` does it anew.\n")
            raise
    if job.state is not JobState.SUCCEEDED:
        raise CommandError(job.error.message if job.error else f"Its job, {job_id}, is {job.state}.")
    return api_client.get(settings, f"/v1/jobs/{job_id}/output")


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    """Open a file. What is piped in is kept in one without a name, because a form is sent from its beginning."""
    if file != STDIN:
        try:
            with file.open("rb") as content:
                yield content
        except OSError as error:
            raise CommandError(error.strerror or str(error)) from None
        return
    if sys.stdin is None or sys.stdin.isatty():
        msg = "Nothing is piped in."
        raise CommandError(msg, USAGE)
    with tempfile.TemporaryFile() as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        kept.seek(0)
        yield kept


@contextmanager
def _bar(name: str, told: Callable[[Progress], str]) -> Iterator[Callable[[Job], None]]:
    """Draw a bar on a terminal's stderr; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as progress:
        task = progress.add_task(escape(name), total=None, told="")

        def tell(job: Job) -> None:
            waiting = job.waiting_for.detail if job.waiting_for is not None and job.waiting_for.reason != "children" else ""
            if job.progress is not None and job.progress.total:
                done = ", ".join(part for part in (told(job.progress), waiting) if part)
                progress.update(task, completed=job.progress.done, total=job.progress.total, told=escape(done))
            else:
                progress.update(task, told=escape(waiting or job.state))

        yield tell
